//! What is said of a policy that is wrong: where, and what to do about it.

use seccomp_agent_policy::{Policy, PolicyError};

/// Mistakes in a whole file, and what is said of them.
const FILES: &[(&str, &str)] = &[
    ("", "1:1: the policy is empty; it begins with `version: 1`"),
    ("version: 2\n", "1:10: version: version 2 is not supported, only 1 is"),
    ("version: 1\nrulse: []\n", r#"2:1: rulse: unknown key "rulse"; did you mean "rules"?"#),
    ("version: 1\nxyz: []\n", r#"2:1: xyz: unknown key "xyz"; there are version, otherwise, rules"#),
    ("version: 1\notherwise: refsue\n", r#"2:12: otherwise: unknown value "refsue"; did you mean "refuse"?"#),
    (
        "version: 1\nrules: {}\n",
        "2:8: rules: expected a list: [one, another], or lines that begin with a dash",
    ),
    ("version: 1\nrules: [\n", "2:8: rules: unclosed bracket '['"),
    ("version: 1.0\n", "1:10: version: expected a whole number"),
    ("version: 1\nrules:\n\t- {}\n", "3:2: lines are indented by spaces, not by tabs"),
    ("version: 1\notherwise: deny\n", r#"2:12: otherwise: unknown value "deny"; there are continue, refuse"#),
    ("version: 1\n---\nversion: 1\n", "3:1: a policy is one document"),
    (
        "version: 1\nrules:\n- {name: a, match: {}}\n- {name: a, match: {}}\n",
        r#"4:10: rules[1].name: rules[0] has the name "a" already"#,
    ),
];

/// Mistakes in a rule, and what is said of them. The rule begins in line 3.
const RULES: &[(&str, &str)] = &[
    ("{name: a, grant: {}}", r#"3:13: rules[0]: the key "match" is missing"#),
    ("{name: a, match: }", "3:18: rules[0].match: expected a mapping, such as {key: value}"),
    ("{name: a, match: {}, name: b}", r#"3:24: rules[0]: the key "name" is there twice"#),
    ("{name: '', match: {}}", "3:10: rules[0].name: a rule's name has 1 to 63 printable characters"),
    (
        "{name: a, match: {ids: x}}",
        r#"3:21: rules[0].match.ids: unknown key "ids"; there are runtime, id, namespace, pod, container, image, service-account, owner, labels, annotations, metadata"#,
    ),
    (
        "{name: a, match: {}, honour: {metadata: [MKDIR_TMPLL]}}",
        r#"3:44: rules[0].honour.metadata[0]: "MKDIR_TMPLL" is nothing that can be asked for; did you mean "MKDIR_TMPL"?"#,
    ),
    (
        "{name: a, match: {}, honour: {annotations: [MOUNT_PROC]}}",
        r#"3:47: rules[0].honour.annotations[0]: "MOUNT_PROC" is nothing that can be asked for: such annotations begin with seccomp-agent/"#,
    ),
];

/// Mistakes in what a rule grants, and what is said of them. The grants begin in line 6, column 7.
const GRANTS: &[(&str, &str)] = &[
    (
        "directries: {suffix: x}",
        r#"6:7: rules[0].grant.directries: unknown key "directries"; did you mean "directories"?"#,
    ),
    ("directories: {}", r#"6:20: rules[0].grant.directories: the key "suffix" is missing"#),
    (
        "directories: {suffix: '{{.Podd}}'}",
        r#"6:29: rules[0].grant.directories.suffix: the template has the unknown field "Podd"; did you mean "Pod"?"#,
    ),
    (
        "nodes: [c 1:3, c 1-3]",
        r#"6:22: rules[0].grant.nodes[1]: "c 1-3" is no device such as "c 1:3", "b 7:*" or "c 4:0-63", with numbers up to 4095:1048575"#,
    ),
    (
        "host-nodes: [/dev/fuse]",
        "6:20: rules[0].grant.host-nodes[0]: nodes lists no device that it could be bound for",
    ),
    (
        "{nodes: [c 10:229], host-nodes: [dev/fuse]}",
        r#"6:40: rules[0].grant.host-nodes[0]: "dev/fuse" is no absolute path"#,
    ),
    (
        "modes: [CAP_FOWNR]",
        r#"6:15: rules[0].grant.modes[0]: unknown value "CAP_FOWNR"; did you mean "CAP_FOWNER"?"#,
    ),
    (
        "owners: {users: [1000, 10-5]}",
        r#"6:30: rules[0].grant.owners.users[1]: "10-5" is no id such as 1000 and no range such as 1000-1999"#,
    ),
    (
        "attributes: ['']",
        r#"6:20: rules[0].grant.attributes[0]: "" does not begin with trusted. or security.; no others take a grant"#,
    ),
    ("open: [{path: dev/kvm}]", r#"6:21: rules[0].grant.open[0].path: "dev/kvm" is no absolute path"#),
    (
        "open: [{path: /dev/kvm}, {path: /dev/kvm, writable: true}]",
        r#"6:39: rules[0].grant.open[1].path: open[0] is about "/dev/kvm" already"#,
    ),
    (
        "exec-delay: {path: /a, delay: 2}",
        r#"6:37: rules[0].grant.exec-delay.delay: "2" is no duration such as 50ms, 2s or 1m30s"#,
    ),
    (
        "calls: [{names: [mkdri], answer: kill}]",
        r#"6:24: rules[0].grant.calls[0].names[0]: unknown system call "mkdri"; did you mean "mkdir"?"#,
    ),
    (
        "calls: [{names: [mkdir], answer: kil}]",
        r#"6:40: rules[0].grant.calls[0].answer: unknown value "kil"; did you mean "kill"?"#,
    ),
    (
        "calls: [{names: [mkdir], answer: {errno: EPREM}}]",
        r#"6:48: rules[0].grant.calls[0].answer.errno: unknown error name "EPREM"; did you mean "EPERM"?"#,
    ),
    (
        "calls: [{names: [mkdir], answer: freeze}]",
        "6:46: rules[0].grant.calls[0].answer.freeze: freeze takes a value, as in {freeze: EPERM}",
    ),
    (
        "calls: [{names: [mkdir], answer: deny}]",
        r#"6:40: rules[0].grant.calls[0].answer: unknown value "deny"; there are continue, log, kill, kill-container, {delay: 50ms}, {errno: EPERM}, {return: 0}, {freeze: EPERM}"#,
    ),
    (
        "calls: [{names: [mkdir], answer: {kill: EPERM}}]",
        "6:47: rules[0].grant.calls[0].answer.kill: kill takes no value: it stands alone",
    ),
    (
        "calls: [{names: [mkdir], answer: {errno: EPERM, return: 0}}]",
        "6:55: rules[0].grant.calls[0].answer.errno: expected one key, and there is another",
    ),
    (
        "calls: [{names: [mkdir], answer: {errno: 1}}]",
        r#"6:48: rules[0].grant.calls[0].answer.errno: unknown error name "1"; they are those of errno(3), such as EPERM"#,
    ),
    ("calls: [{names: [], answer: kill}]", "3:9: rules[0].grant.calls[0].names: it names no call"),
    (
        "mount: [procfs]",
        r#"6:15: rules[0].grant.mount[0]: unknown value "procfs"; there are proc, sysfs, tmpfs, overlay, devpts, mqueue, cgroup2, ext4, xfs, vfat, iso9660, squashfs, erofs, fuse, bind, propagation"#,
    ),
    (
        "mount: [ext4]",
        "6:15: rules[0].grant.mount[0]: ext4 needs the devices that it may be on: {type: ext4, devices: [b 7:*]} for loop devices",
    ),
    (
        "mount: [{type: ext4, devices: [c 1:3]}]",
        r#"6:15: rules[0].grant.mount[0]: "c 1:3" is no block device"#,
    ),
    ("mount: [{type: tmpfs, devices: [b 7:*]}]", "6:15: rules[0].grant.mount[0]: tmpfs is on no device"),
    (
        "mount: [{type: ext4, devices: [b 7:*], options: [journal_path]}]",
        r#"6:15: rules[0].grant.mount[0]: "journal_path" is no option of ext4 that can be granted"#,
    ),
    (
        "mount: [{type: tmpfs, options: [sizes]}]",
        r#"6:15: rules[0].grant.mount[0]: "sizes" is no option of tmpfs that can be granted; did you mean "size"?"#,
    ),
    (
        "nodes: c 1:3",
        "6:14: rules[0].grant.nodes: expected a list: [one, another], or lines that begin with a dash",
    ),
    (
        "directories: {suffix: {{.Pod}}}",
        "6:29: rules[0].grant.directories.suffix: expected a text; what is empty, null, or begins with [ or { stands in quotes",
    ),
    (
        "open: [{path: /dev/kvm, writable: maybe}]",
        "6:41: rules[0].grant.open[0].writable: expected true or false",
    ),
    (
        "{directories: {suffix: x}, calls: [{names: [chmod, mkdir], answer: kill}]}",
        "6:58: rules[0].grant.calls[0].names[1]: mkdir is answered by directories already",
    ),
];

fn fault(text: &str) -> String {
    Policy::parse(text).map_or_else(|fault| fault.to_string(), |_| format!("no fault in {text}"))
}

#[test]
fn mistakes_are_named_with_line_column_field_and_a_suggestion() {
    for (text, expected) in FILES {
        assert_eq!(fault(text), *expected);
    }
    for (rule, expected) in RULES {
        assert_eq!(fault(&format!("version: 1\nrules:\n- {rule}\n")), *expected);
    }
    for (grant, expected) in GRANTS {
        let text = format!("version: 1\nrules:\n- name: a\n  match: {{}}\n  grant:\n      {grant}\n");
        assert_eq!(fault(&text), *expected);
    }
}

#[test]
fn a_call_that_an_honoured_request_would_answer_is_taken() {
    let rule = "{name: a, match: {}, honour: {metadata: [MOUNT_PROC]}, grant: {calls: [{names: [mount], answer: log}]}}";
    let message = fault(&format!("version: 1\nrules:\n- {rule}\n"));
    assert!(message.ends_with("mount is answered by mount already"), "{message}");
}

#[test]
fn violations_and_an_answer_exclude_each_other() {
    let rule = "{name: a, match: {}, complain: {}, grant: {otherwise: kill-container}}";
    let message = fault(&format!("version: 1\nrules:\n- {rule}\n"));
    assert!(
        message.ends_with("rules[0].grant.otherwise: complain is about the calls that otherwise answers"),
        "{message}"
    );
}

#[test]
fn a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    assert!(matches!(Policy::read(&path), Err(PolicyError::Read { .. })));
    std::fs::write(&path, "version: 3\n").unwrap();
    let message = Policy::read(&path).unwrap_err().to_string();
    assert_eq!(message, format!("{}:1:10: version: version 3 is not supported, only 1 is", path.display()));
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(Policy::read(&path), Err(PolicyError::TooLarge { .. })));
}
