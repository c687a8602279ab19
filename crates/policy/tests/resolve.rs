//! Which containers a rule is for, what they get, and how that is explained.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use proptest::collection::btree_map;
use proptest::prelude::*;
use seccomp_agent_policy::{Policy, ResolveError};
use seccomp_agent_registry::{Call, Container, Errno, Notification, Owner, Pod, PodContainer, Role, Verdict};

fn container(id: &str) -> Container {
    Container::named(id)
}

fn annotated(annotations: &[(&str, &str)]) -> Container {
    let mut container = container("c");
    container.annotations =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    container
}

fn asking(metadata: &str) -> Container {
    let mut container = container("c");
    metadata.clone_into(&mut container.metadata);
    container
}

fn of_runtime(runtime: &str) -> Container {
    let mut container = container("c");
    container.runtime = Some(runtime.to_owned());
    container
}

fn answer(policy: &Policy, container: &Container, call: &str) -> Verdict {
    let registry = policy.resolve(container).unwrap().registry;
    registry.answer(&Call::new(&Notification::sample(call), container))
}

#[test]
fn a_rule_matches_where_all_that_it_says_does() {
    let web = ("io.kubernetes.cri.container-name", "web");
    for (matcher, container, matches) in [
        ("{}", container("anything"), true),
        ("{id: build-*}", container("build-7"), true),
        ("{id: build-*}", container("rebuild-7"), false),
        ("{id: build-?}", container("build-77"), false),
        ("{id: ''}", container("c"), false),
        ("{runtime: runc}", of_runtime("runc"), true),
        ("{runtime: runc}", of_runtime("crun"), false),
        ("{runtime: '*'}", container("c"), false),
        ("{container: web}", annotated(&[web]), true),
        ("{container: web}", container("web"), false),
        ("{container: web, id: x}", annotated(&[web]), false),
        ("{annotations: {team: a*}}", annotated(&[("team", "alpha")]), true),
        ("{annotations: {team: a*}}", annotated(&[("team", "beta")]), false),
        ("{annotations: {team: '*'}}", annotated(&[]), false),
        ("{annotations: {team: '*', tier: '1'}}", annotated(&[("team", ""), ("tier", "1")]), true),
        ("{annotations: {team: '*', tier: '1'}}", annotated(&[("team", "")]), false),
        ("{metadata: {A: b}}", asking("A=b"), true),
        ("{metadata: {A: b}}", asking("A=b\nA=c"), false),
        ("{metadata: {A: b}}", asking("B=b"), false),
    ] {
        let text = format!("version: 1\nrules: [{{name: r, match: {matcher}}}]");
        let policy = Policy::parse(&text).unwrap();
        let rule = policy.resolve(&container).unwrap().explanation.rule;
        assert_eq!(rule.is_some(), matches, "{matcher} {container:?}");
    }
}

/// A container of a pod that the cluster has told of.
fn of_pod() -> Container {
    let container = annotated(&[
        ("io.kubernetes.cri.container-name", "nginx"),
        ("io.kubernetes.cri.image-name", "docker.io/library/nginx:1.27"),
    ]);
    let mut pod = Pod::default();
    (pod.namespace, pod.name) = ("shop".into(), "web-6d4b75cb6d-h2xkq".into());
    pod.labels.insert("app".into(), "web".into());
    pod.service_account = Some("web".into());
    pod.owner = Some(Owner::new("Deployment", "web"));
    pod.annotations.insert("seccomp-agent/MOUNT_PROC".into(), "true".into());
    let mut nginx = PodContainer::new(Role::Regular, "nginx:1.27");
    nginx.image_id = Some("docker.io/library/nginx@sha256:00".into());
    pod.containers.insert("nginx".into(), nginx);
    container.tell_pod(pod);
    container
}

#[test]
fn what_the_cluster_knows_of_a_pod_is_matched() {
    for (matcher, matches) in [
        ("{namespace: shop, pod: web-*, container: nginx}", true),
        ("{namespace: kube-system}", false),
        ("{labels: {app: web}}", true),
        ("{labels: {app: web, tier: '*'}}", false),
        ("{service-account: web}", true),
        ("{service-account: default}", false),
        ("{owner: Deployment/web}", true),
        ("{owner: DaemonSet/*}", false),
        ("{image: '*@sha256:00'}", true),
        ("{image: 'nginx:*'}", true),
        ("{image: docker.io/library/nginx:1.27}", true),
        ("{image: 'redis:*'}", false),
        ("{annotations: {seccomp-agent/MOUNT_PROC: 'true'}}", true),
    ] {
        let text = format!("version: 1\nrules: [{{name: r, match: {matcher}}}]");
        let policy = Policy::parse(&text).unwrap();
        let rule = policy.resolve(&of_pod()).unwrap().explanation.rule;
        assert_eq!(rule.is_some(), matches, "{matcher}");
        // Nobody is let in because nothing is known.
        let unknown = policy.resolve(&container("c")).unwrap().explanation.rule;
        assert_eq!(unknown, None, "{matcher}");
        // Of this container, everything else is said by its runtime.
        let names = [
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.sandbox-name", "web-0"),
            ("io.kubernetes.cri.container-name", "nginx"),
        ];
        let is_said = matcher.contains("namespace");
        assert_eq!(policy.asks_for_pod(&annotated(&names)), !is_said, "{matcher}");
        assert!(policy.asks_for_pod(&annotated(&names[2..])), "{matcher}");
    }
}

#[test]
fn only_what_can_be_a_rules_waits_for_its_pod() {
    let labelled = "{name: labelled, match: {namespace: ci, labels: {tier: gold}}}";
    let asking = "{name: asking, match: {namespace: ci}, honour: {annotations: [seccomp-agent/MOUNT_PROC]}}";
    let named = "{name: named, match: {namespace: ci, pod: 'web-*'}}";
    let (ci, shop) = (["ci", "web-0"], ["shop", "web-0"]);
    for (rules, [namespace, pod], asks) in [
        (vec![labelled], ci, true),
        (vec![labelled], shop, false),
        (vec![asking], ci, true),
        (vec![asking], shop, false),
        (vec![named, labelled], ci, false),
        (vec![named, labelled], ["ci", "db-0"], true),
        (vec![labelled, named], ci, true),
        (vec![named, asking], ["ci", "db-0"], true),
        (vec!["{name: all, match: {}}", labelled], ci, false),
        (vec!["{name: image, match: {namespace: ci, image: 'nginx:*'}}"], ci, false),
        (vec!["{name: image, match: {namespace: ci, image: 'redis:*'}}"], ci, true),
        (vec!["{name: line, match: {metadata: {A: b}, labels: {tier: gold}}}"], ci, false),
        (vec!["{name: said, match: {annotations: {seccomp-agent/A: b}}}"], ci, true),
        (vec!["{name: said, match: {annotations: {example.com/a: b}}}"], ci, false),
        (vec![], ci, false),
    ] {
        let policy = Policy::parse(&format!("version: 1\nrules: [{}]", rules.join(", "))).unwrap();
        let container = annotated(&[
            ("io.kubernetes.cri.sandbox-namespace", namespace),
            ("io.kubernetes.cri.sandbox-name", pod),
            ("io.kubernetes.cri.container-name", "nginx"),
            ("io.kubernetes.cri.image-name", "nginx:1.27"),
        ]);
        assert_eq!(policy.asks_for_pod(&container), asks, "{namespace}/{pod}: {rules:?}");
    }
}

#[test]
fn a_pods_annotations_ask_as_a_containers_do() {
    let policy = Policy::parse(
        "version: 1\nrules: [{name: r, match: {}, honour: {annotations: [seccomp-agent/MOUNT_PROC]}}]",
    )
    .unwrap();
    assert!(policy.asks_for_pod(&container("c")));
    let granted = |container: &Container| !policy.resolve(container).unwrap().explanation.handlers.is_empty();
    assert!(granted(&of_pod()) && !granted(&container("c")));
    let mut refusing = of_pod();
    refusing.annotations.insert("seccomp-agent/MOUNT_PROC".into(), "false".into());
    assert!(!granted(&refusing), "the container's own comes first");
}

#[test]
fn a_name_that_is_not_known_is_missed_where_runtimes_write_it() {
    let policy = Policy::parse("version: 1\nrules: [{name: r, match: {container: web}}]").unwrap();
    let text = policy.resolve(&container("c")).unwrap().explanation.to_string();
    assert!(
        text.contains("r: no, container is not known (no annotation io.kubernetes.cri.container-name)\n"),
        "{text}"
    );
}

#[test]
fn the_first_rule_that_matches_counts() {
    let policy = Policy::parse(
        "version: 1\nrules:\n- name: a\n  match: {id: x*}\n- name: b\n  match: {}\n  grant:\n    calls: [{names: [getppid], answer: {return: 7}}]\n",
    )
    .unwrap();
    assert_eq!(answer(&policy, &container("x1"), "getppid"), Verdict::Continue);
    assert_eq!(answer(&policy, &container("y1"), "getppid"), Verdict::Return(7));
}

#[test]
fn answers_are_what_the_policy_says() {
    for (text, verdict) in [
        ("continue", Verdict::Continue),
        ("log", Verdict::Continue),
        ("kill", Verdict::Kill),
        ("{errno: ENOSPC}", Verdict::Errno(Errno::NOSPC)),
        ("{return: 3}", Verdict::Return(3)),
        ("{delay: 50ms}", Verdict::after(std::time::Duration::from_millis(50), Verdict::Continue)),
    ] {
        let rule =
            format!("{{name: r, match: {{}}, grant: {{calls: [{{names: [getppid], answer: {text}}}]}}}}");
        let policy = Policy::parse(&format!("version: 1\nrules: [{rule}]")).unwrap();
        assert_eq!(answer(&policy, &container("c"), "getppid"), verdict, "{text}");
    }
}

const KINVOLK: &str = "version: 1
rules:
- name: demo
  match: {}
  honour: {metadata: [MKDIR_TMPL, EXEC_PATTERN, EXEC_DURATION], annotations: [seccomp-agent/MKDIR_TMPL]}
  grant: {nodes: ['c 1:3'], host-nodes: [/dev/null, /dev/fuse], exec-alert: ['*/nc', /bin/sh], modes: [CAP_FOWNER], owners: {users: [0, 1000-1999]}, open: [{path: /dev/kvm, writable: true}]}
";

#[test]
fn what_is_asked_for_is_granted_where_it_is_honoured() {
    let policy = Policy::parse(KINVOLK).unwrap();
    let mut asking = asking(
        "MKDIR_TMPL=-{{.Namespace}}-{{.Pod}}-{{.Container}}\nEXEC_PATTERN=/bin/true\nEXEC_DURATION=2s\nMOUNT_PROC=true\nFOO=\u{1b}[2J",
    );
    asking.annotations = annotated(&[
        ("io.kubernetes.cri.sandbox-namespace", "default"),
        ("io.kubernetes.cri.sandbox-name", "mynotifypod"),
        ("io.kubernetes.cri.container-name", "container1"),
    ])
    .annotations;
    let resolved = policy.resolve(&asking).unwrap();
    assert!(!resolved.registry.names().contains("mount"));
    let expected = r#"container  c, container1 of default/mynotifypod
rule       demo
  demo: yes
handlers
  directories: suffix "-default-mynotifypod-container1" (by metadata MKDIR_TMPL)
    answers mkdir, mkdirat
  nodes: c 1:3; bound where nodes cannot be opened: /dev/null, /dev/fuse (by rule)
    answers mknod, mknodat
  modes: CAP_FOWNER (by rule)
    answers chmod, fchmod, fchmodat, fchmodat2
  owners: users 0, 1000-1999; groups none (by rule)
    answers chown, lchown, fchown, fchownat, chown32, lchown32, fchown32
  open: /dev/kvm writable (by rule)
    answers open, openat, openat2, creat
  exec-delay: /bin/true by 2s (by metadata EXEC_PATTERN, metadata EXEC_DURATION)
    answers execve, execveat
  exec-alert: */nc, /bin/sh (by rule)
    answers execve, execveat
asked for
  metadata MKDIR_TMPL=-{{.Namespace}}-{{.Pod}}-{{.Container}}: honoured
  metadata EXEC_PATTERN=/bin/true: honoured
  metadata EXEC_DURATION=2s: honoured
  metadata MOUNT_PROC=true: not honoured
  metadata FOO=�[2J: unknown
otherwise  notified calls continue"#;
    assert_eq!(resolved.explanation.to_string(), expected);
}

#[test]
fn machines_get_the_same_as_json() {
    let policy = Policy::parse("version: 1\notherwise: refuse\nrules: [{name: a, match: {id: x}}]").unwrap();
    let explanation = policy.resolve(&asking("MOUNT_PROC=true")).unwrap().explanation;
    let expected = serde_json::json!({
        "container": "c",
        "rule": null,
        "tried": [{"rule": "a", "mismatch": "id \"c\" does not match \"x\""}],
        "handlers": [],
        "requests": [
            {"source": "metadata", "key": "MOUNT_PROC", "value": "true", "outcome": "not-honoured"},
        ],
        "otherwise": "refuse",
    });
    assert_eq!(serde_json::to_value(explanation).unwrap(), expected);
}

#[test]
fn what_cannot_be_granted_as_asked_for_is_refused_by_name() {
    let policy = Policy::parse(KINVOLK).unwrap();
    for (metadata, message) in [
        ("MKDIR_TMPL={{.Pod}}", r#"rule "demo": directories: the container's Pod is not known"#),
        (
            "MKDIR_TMPL=a/../b",
            r#"rule "demo": metadata MKDIR_TMPL: the template contains '/', which is no part of a name"#,
        ),
        (
            "MKDIR_TMPL={{if .Pod}}x{{end}}",
            r#"rule "demo": metadata MKDIR_TMPL: the template contains {{if .Pod}}, and only plain fields such as {{.Pod}} are supported"#,
        ),
        ("EXEC_PATTERN=/bin/*", r#"rule "demo": metadata EXEC_PATTERN: it takes EXEC_DURATION as well"#),
        (
            "EXEC_PATTERN=x\nEXEC_DURATION=soon",
            r#"rule "demo": metadata EXEC_PATTERN: "soon" is no duration such as 50ms, 2s or 1m30s"#,
        ),
    ] {
        let error: ResolveError = policy.resolve(&asking(metadata)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// Asks for what the rule of [`asked_of`] honours: all that users of the Go agent know.
const ALL_KEYS: &str = "MKDIR_TMPL, EXEC_PATTERN, EXEC_DURATION, MOUNT_PROC, MOUNT_SYSFS, MOUNT_OTHER_FS_LIST, SIDECARS, \
     SIDECARS_DELAY, MIDDLEWARE, DEFAULT_ACTION, COMPLAIN";

/// The handlers that a container of this name gets by what it asks for, and whether Falco is told; or why none.
fn asked_of(grant: &str, name: &str, metadata: &str) -> Result<(String, bool), String> {
    let rule = format!("{{name: r, match: {{}}, honour: {{metadata: [{ALL_KEYS}]}}, grant: {{{grant}}}}}");
    let policy = Policy::parse(&format!("version: 1\nrules: [{rule}]")).unwrap();
    let mut asking = asking(metadata);
    asking.annotations = annotated(&[("io.kubernetes.cri.container-name", name)]).annotations;
    let resolved = policy.resolve(&asking).map_err(|error| error.to_string())?;
    let handlers = resolved.explanation.handlers.iter().map(|granted| {
        let by = granted.by.replace("metadata ", "");
        format!("{}: {} ({by})", granted.handler, granted.parameters)
    });
    Ok((handlers.collect::<Vec<_>>().join("; "), resolved.falco))
}

#[test]
fn what_users_of_the_go_agent_ask_for_is_granted() {
    for (grant, metadata, expected) in [
        ("", "MOUNT_SYSFS=true", "mount: sysfs (MOUNT_SYSFS)"),
        ("mount: [sysfs]", "MOUNT_SYSFS=true", "mount: sysfs (rule)"),
        ("mount: [sysfs, bind]", "MOUNT_SYSFS=false", "mount: bind (MOUNT_SYSFS)"),
        (
            "mount: [{type: tmpfs, options: [size]}]",
            "MOUNT_PROC=true\nMOUNT_OTHER_FS_LIST=tmpfs,, mqueue",
            "mount: tmpfs with options size, proc, mqueue (MOUNT_PROC, MOUNT_OTHER_FS_LIST)",
        ),
        ("", "MOUNT_OTHER_FS_LIST=", ""),
        ("", "MOUNT_OTHER_FS_LIST=tmpfs\nMOUNT_NEED_CAP_ADMIN=false", "mount: tmpfs (MOUNT_OTHER_FS_LIST)"),
        ("", "SIDECARS=proxy,log*\nSIDECARS_DELAY=1.5s", "start-delay: by 1.5s (SIDECARS, SIDECARS_DELAY)"),
        (
            "",
            "SIDECARS=proxy,web\nSIDECARS_DELAY=1s",
            "start-delay: none, as a sidecar (SIDECARS, SIDECARS_DELAY)",
        ),
        ("start-delay: {delay: 1s}", "SIDECARS=w?b", "start-delay: none, as a sidecar (SIDECARS)"),
        ("start-delay: {delay: 1s}", "SIDECARS_DELAY=0", "start-delay: by 0ns (SIDECARS_DELAY)"),
        ("", "DEFAULT_ACTION=kill-container", "otherwise: kill the container (DEFAULT_ACTION)"),
        (
            "otherwise: log",
            "DEFAULT_ACTION=freeze-container",
            "otherwise: freeze the container, then errno EPERM (DEFAULT_ACTION)",
        ),
        ("otherwise: log", "", "otherwise: log (rule)"),
        ("", "MIDDLEWARE=prometheus", ""),
    ] {
        assert_eq!(asked_of(grant, "web", metadata), Ok((expected.to_owned(), false)), "{metadata}");
    }
    assert_eq!(asked_of("", "web", "MIDDLEWARE=falco,prometheus"), Ok((String::new(), true)));
    assert_eq!(asked_of("falco: true", "web", ""), Ok((String::new(), true)));
}

#[test]
fn what_users_of_the_go_agent_ask_for_in_vain_is_named() {
    for (metadata, message) in [
        ("MOUNT_SYSFS=yes", r#"MOUNT_SYSFS: "yes" is neither true nor false"#),
        (
            "MOUNT_OTHER_FS_LIST=tmpfs,cifs",
            r#"MOUNT_OTHER_FS_LIST: "cifs" is no file system that can be granted; there are proc, sysfs, tmpfs, overlay, devpts, mqueue, cgroup2, fuse"#,
        ),
        ("SIDECARS=proxy", "SIDECARS: it takes SIDECARS_DELAY as well"),
        ("SIDECARS_DELAY=1s", "SIDECARS_DELAY: it takes SIDECARS as well"),
        ("MIDDLEWARE=flaco", r#"MIDDLEWARE: "flaco" is none of falco, prometheus"#),
        ("DEFAULT_ACTION=kill", r#"DEFAULT_ACTION: "kill" is none of kill-container, freeze-container"#),
        (
            "DEFAULT_ACTION=kill-container\nCOMPLAIN=web",
            "DEFAULT_ACTION: calls that no handler answers cannot both be violations and have an answer",
        ),
    ] {
        let expected = format!(r#"rule "r": metadata {message}"#);
        assert_eq!(asked_of("", "web", metadata), Err(expected));
    }
    let error = asked_of("otherwise: kill", "web", "COMPLAIN=web").unwrap_err();
    assert!(error.starts_with(r#"rule "r": metadata COMPLAIN: calls that"#), "{error}");
}

#[test]
fn asking_for_less_counts_whoever_asks_and_is_not_taken_back() {
    let policy = Policy::parse(
        "version: 1\nrules:\n- name: r\n  match: {}\n  honour: {metadata: [MOUNT_PROC], annotations: [seccomp-agent/MOUNT_NEED_CAP_ADMIN]}\n  grant: {mount: [tmpfs, bind]}\n",
    )
    .unwrap();
    let mut container = asking("MOUNT_PROC=true\nMOUNT_NEED_CAP_ADMIN=true");
    for annotation in [None, Some("false"), Some("true")] {
        let asked = annotation.map(|value| ("seccomp-agent/MOUNT_NEED_CAP_ADMIN", value));
        container.annotations = annotated(asked.as_slice()).annotations;
        let explanation = policy.resolve(&container).unwrap().explanation;
        let expected = "tmpfs for callers with CAP_SYS_ADMIN, bind, proc for callers with CAP_SYS_ADMIN";
        assert_eq!(explanation.handlers[0].parameters, expected, "{explanation}");
        assert_eq!(explanation.refused().count(), 0, "{explanation}");
    }
    container.metadata = "MOUNT_PROC=true\nMOUNT_NEED_CAP_ADMIN=false".to_owned();
    container.annotations.clear();
    let explanation = policy.resolve(&container).unwrap().explanation;
    assert_eq!(explanation.handlers[0].parameters, "tmpfs, bind, proc");
    assert_eq!(explanation.refused().count(), 1);
}

#[test]
fn calls_that_nothing_else_answers_have_the_answer_of_otherwise() {
    let policy = Policy::parse(
        "version: 1\nrules:\n- name: r\n  match: {}\n  grant: {otherwise: {errno: ENOSPC}, calls: [{names: [getpid], answer: continue}]}\n",
    )
    .unwrap();
    let container = container("c");
    assert_eq!(answer(&policy, &container, "getppid"), Verdict::Errno(Errno::NOSPC));
    assert_eq!(answer(&policy, &container, "getpid"), Verdict::Continue);
    let explained = policy.resolve(&container).unwrap().explanation.to_string();
    assert!(
        explained.contains("  otherwise: errno ENOSPC (by rule)\n    answers all others\n"),
        "{explained}"
    );
    assert!(explained.ends_with("otherwise  notified calls are answered by otherwise"), "{explained}");
}

#[test]
fn a_sidecar_starts_at_once_and_the_others_late() {
    let answer = |name: Option<&str>, status: &str| {
        let policy =
            "version: 1\nrules: [{name: r, match: {}, grant: {start-delay: {delay: 1h, sidecars: [proxy]}}}]";
        let mut container = container("c");
        container.status = status.into();
        let named = name.map(|name| ("io.kubernetes.cri.container-name", name));
        container.annotations = annotated(named.as_slice()).annotations;
        answer(&Policy::parse(policy).unwrap(), &container, "execve")
    };
    assert_eq!(answer(Some("proxy"), "creating"), Verdict::Continue);
    // What exec adds has been waited for already.
    assert_eq!(answer(Some("web"), "running"), Verdict::Continue);
    for name in [Some("web"), None] {
        assert!(matches!(answer(name, "creating"), Verdict::After(delay, _) if delay.as_secs() > 3000));
    }
}

const NAMING: &str = "version: 1
rules:
- name: granted
  match: {id: granted}
  grant: {directories: {suffix: '-{{.Namespace}}-{{.Pod}}-{{.Container}}-{{.Pid}}'}}
- name: asked for
  match: {}
  honour: {metadata: [MKDIR_TMPL]}
";

/// What containerd writes of a container in a pod.
const POD: [(&str, &str); 3] = [
    ("io.kubernetes.cri.sandbox-namespace", "default"),
    ("io.kubernetes.cri.sandbox-name", "pod"),
    ("io.kubernetes.cri.container-name", "web"),
];

/// The same template, granted and asked for.
fn naming(annotations: &[(&str, &str)], pid: u32) -> [Container; 2] {
    ["granted", "asking"].map(|id| {
        let mut container = annotated(annotations);
        id.clone_into(&mut container.id);
        "MKDIR_TMPL=-{{.Namespace}}-{{.Pod}}-{{.Container}}-{{.Pid}}".clone_into(&mut container.metadata);
        container.init_pid = pid;
        container
    })
}

#[test]
fn a_container_of_which_a_field_is_not_known_is_refused() {
    let policy = Policy::parse(NAMING).unwrap();
    for container in naming(&POD, 7) {
        let handlers = policy.resolve(&container).unwrap().explanation.handlers;
        assert_eq!(handlers[0].parameters, r#"suffix "-default-pod-web-7""#);
    }
    for (missing, field) in ["Namespace", "Pod", "Container"].into_iter().enumerate() {
        let mut annotations = POD.to_vec();
        annotations.remove(missing);
        for container in naming(&annotations, 7) {
            let message = policy.resolve(&container).unwrap_err().to_string();
            assert!(message.ends_with(&format!("the container's {field} is not known")), "{message}");
        }
    }
    for container in naming(&POD, 0) {
        let message = policy.resolve(&container).unwrap_err().to_string();
        assert!(message.ends_with("the container's Pid is not known"), "{message}");
    }
}

#[test]
fn a_value_that_would_be_more_than_part_of_a_name_is_refused() {
    let policy = Policy::parse(NAMING).unwrap();
    let long = "x".repeat(256);
    for value in ["", ".", "..", "/", "a/b", "../../etc", "a\0b", &long] {
        for field in 0..POD.len() {
            let mut annotations = POD;
            annotations[field].1 = value;
            for container in naming(&annotations, 7) {
                let message = policy.resolve(&container).unwrap_err().to_string();
                assert!(message.ends_with("is no name"), "{value:?}: {message}");
            }
        }
    }
    // Each would do, and all together do not.
    let half = "x".repeat(128);
    for container in naming(&[(POD[0].0, &half), (POD[1].0, &half), (POD[2].0, "c")], 7) {
        let message = policy.resolve(&container).unwrap_err().to_string();
        assert!(message.ends_with("the result has 262 bytes, more than 255"), "{message}");
    }
}

proptest! {
    #[test]
    fn without_a_rule_nothing_is_granted_whatever_is_asked_for(
        id in any::<String>(),
        annotations in btree_map("(seccomp-agent/)?[A-Z_]{0,12}|seccomp-agent/(MKDIR_TMPL|MOUNT_PROC)", any::<String>(), 0..6),
        metadata in "((MKDIR_TMPL|EXEC_PATTERN|EXEC_DURATION|MOUNT_PROC|[A-Z]*)=(true|2s|-x|.*)\n){0,6}",
        rule_matches in any::<bool>(),
    ) {
        let mut asking = container(&id);
        asking.annotations = annotations;
        asking.metadata = metadata;
        let everything = "nodes: ['c *:*'], modes: [CAP_FOWNER], mount: [proc], open: [{path: /}]";
        // Either a rule that is for somebody else and grants all, or one that is for everybody and grants nothing.
        let rule = if rule_matches {
            "match: {}".to_owned()
        } else {
            format!("match: {{runtime: '*'}}, honour: {{metadata: [MOUNT_PROC]}}, grant: {{{everything}}}")
        };
        let policy = Policy::parse(&format!("version: 1\nrules: [{{name: r, {rule}}}]")).unwrap();
        let resolved = policy.resolve(&asking).unwrap();
        prop_assert!(resolved.registry.names().is_empty());
        prop_assert!(resolved.explanation.handlers.is_empty());
        let verdict = resolved.registry.answer(&Call::new(&Notification::sample("mkdirat"), &asking));
        prop_assert_eq!(verdict, Verdict::Continue);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(version: 1\n)?[ -~\n]{0,200}") {
        let _ = Policy::parse(&text);
    }
}

#[test]
fn who_is_recorded_is_said_by_the_rule_or_asked_for_where_it_is_honoured() {
    let policy = Policy::parse(
        "version: 1\nrules:\n\
         - {name: own, match: {id: own}, record: {}, complain: {name: strict, deny: true}}\n\
         - {name: named, match: {id: named}, honour: {metadata: [RECORD]}, record: {name: web, count-all: true}}\n\
         - {name: asking, match: {id: c}, honour: {metadata: [RECORD, COMPLAIN]}}\n\
         - {name: others, match: {}}\n",
    )
    .unwrap();
    assert!(policy.records() && policy.asks_for_runtime());
    let named =
        |subject: Option<seccomp_agent_recorder::Subject>| subject.map(|subject| subject.name.to_string());
    let watched = |container: &Container| {
        let watch = policy.resolve(container).unwrap().watch;
        (named(watch.record), named(watch.complain), watch.deny)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(watched(&container("own")), (some("own"), some("strict"), true));
    assert_eq!(watched(&container("other")), (None, None, false));
    assert_eq!(watched(&asking("RECORD=a\nCOMPLAIN=b")), (some("a"), some("b"), false));
    assert_eq!(watched(&asking("RECORD=")), (some("c"), None, false));
    let mut asks = container("named");
    assert_eq!(watched(&asks), (some("web"), None, false));
    for (text, expected) in [("RECORD=api", "api"), ("RECORD=", "web")] {
        text.clone_into(&mut asks.metadata);
        let record = policy.resolve(&asks).unwrap().watch.record.unwrap();
        assert_eq!((record.name.as_str(), record.count_all), (expected, true));
    }
    let record = policy.resolve(&asking("RECORD=api,unknown")).unwrap().watch.record.unwrap();
    assert!(record.unknown_only && record.name.as_str() == "api");
    let refused = policy.resolve(&asking("RECORD=../etc")).unwrap_err();
    assert!(refused.to_string().contains("RECORD"), "{refused}");
    let explained = policy.resolve(&container("own")).unwrap().explanation.to_string();
    assert!(explained.contains("strict: violations, refused (by rule)"), "{explained}");
}
