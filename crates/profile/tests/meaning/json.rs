//! What is a profile, and what the errors say about the rest.

use crate::strategy;
use proptest::prelude::*;
use seccomp_agent_profile::{
    Action, Comparison, Condition, Flag, MAX_PROFILE_BYTES, ParseError, Profile, Warning, compile,
};
use seccomp_agent_syscall::Arch;

fn error(json: &str) -> String {
    Profile::from_json(json.as_bytes()).unwrap_err().to_string()
}

fn rule(rule: &str) -> String {
    format!("{{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": [\n{rule}]}}")
}

#[test]
fn every_field_is_read() {
    let profile = Profile::from_json(
        br#"{
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "RECORD=web",
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "as docker", "includes": {}},
                {"names": ["clone"], "action": "SCMP_ACT_NOTIFY",
                 "args": [{"index": 0, "value": 2114060288, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"},
                          {"index": 1, "value": 18446744073709551615, "valueTwo": 0, "op": "SCMP_CMP_NE"}]},
                {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["kexec_load"], "action": "SCMP_ACT_KILL"}
            ]
        }"#,
    )
    .unwrap();
    let masked = Comparison::MaskedEqual { mask: 2_114_060_288, value: 7 };
    let expected = Profile::new(Action::Errno(38))
        .architectures([Arch::X86_64, Arch::X32])
        .flags([Flag::WaitKillableRecv])
        .rule(Action::Allow, ["read", "write"])
        .rule_when(
            Action::Notify,
            ["clone"],
            [Condition::new(0, masked).unwrap(), Condition::new(1, Comparison::NotEqual(u64::MAX)).unwrap()],
        )
        .rule(Action::Errno(1), ["ptrace"])
        .rule(Action::KillThread, ["kexec_load"]);
    let expected = Profile {
        listener_path: Some("/run/agent.sock".to_owned()),
        listener_metadata: Some("RECORD=web".to_owned()),
        ..expected
    };
    assert_eq!(profile, expected);
    assert!(profile.has_listener());
}

#[test]
fn a_container_configuration_is_read_for_its_profile() {
    let config = |seccomp: &str| {
        format!(r#"{{"ociVersion": "1.0.2", "process": {{"x": 1}}, "linux": {{{seccomp}}}}}"#)
    };
    let profile = config(r#""namespaces": [], "seccomp": {"defaultAction": "SCMP_ACT_LOG"}"#);
    assert_eq!(Profile::from_json(profile.as_bytes()), Ok(Profile::new(Action::Log)));
    assert_eq!(Profile::from_json(config("").as_bytes()), Err(ParseError::NoProfile));
    assert_eq!(
        error(&config(r#""seccomp": {"defaultAction": "SCMP_ACT_LAG"}"#)),
        "line 1, column 98: linux.seccomp.defaultAction: unknown name `SCMP_ACT_LAG`, did you mean `SCMP_ACT_LOG`?"
    );
}

#[test]
fn errors_name_the_place_and_what_was_meant() {
    for (json, expected) in [
        (String::new(), "line 1, column 0: not JSON: EOF while parsing a value"),
        ("{\n \"defaultAction\": }".to_owned(), "line 2, column 19: not JSON: expected value"),
        (
            "{\"defaultAction\": \"SCMP_ACT_LOG\"} x".to_owned(),
            "line 1, column 35: not JSON: trailing characters",
        ),
        ("{}".to_owned(), "line 1, column 2: the profile: missing field `defaultAction`"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALOW"}"#.to_owned(),
            "line 1, column 33: defaultAction: unknown name `SCMP_ACT_ALOW`, did you mean `SCMP_ACT_ALLOW`?",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X8664"]}"#
                .to_owned(),
            "line 1, column 87: architectures[1]: unknown name `SCMP_ARCH_X8664`, did you mean `SCMP_ARCH_X86_64`?",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_LOG", "flags": ["SECCOMP_FILTER_FLAG_SPECALLOW"]}"#.to_owned(),
            "line 1, column 75: flags[0]: unknown name `SECCOMP_FILTER_FLAG_SPECALLOW`, did you mean \
             `SECCOMP_FILTER_FLAG_SPEC_ALLOW`?",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_LOG", "syscals": []}"#.to_owned(),
            "line 1, column 43: syscals: unknown name `syscals`, did you mean `syscalls`?",
        ),
        (
            rule(r#"{"name": ["read"], "action": "SCMP_ACT_LOG"}"#),
            "line 3, column 7: syscalls[0].name: unknown name `name`, did you mean `names`?",
        ),
        (
            rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQL"}]}"#,
            ),
            "line 3, column 100: syscalls[0].args[0].op: unknown name `SCMP_CMP_EQL`, did you mean `SCMP_CMP_EQ`?",
        ),
        (
            rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "line 3, column 101: syscalls[0].args[0]: index 6: a system call has the arguments 0 to 5",
        ),
        (
            rule(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}"#),
            "line 3, column 66: syscalls[0]: errnoRet 4095 is no errno: they are below 4095",
        ),
        (
            rule(r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}"#),
            "line 3, column 63: syscalls[0]: errnoRet is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE only",
        ),
        (
            rule(r#"{"names": ["read"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_SYS_ADMIN"]}}"#),
            "line 3, column 65: syscalls[0].includes: a runtime ignores this field, so the profile would mean something \
             else to it: write down what the engine makes of it for this machine and these capabilities",
        ),
        (
            rule(r#"{"names": ["read", ""], "action": "SCMP_ACT_LOG"}"#),
            "line 3, column 50: syscalls[0]: an empty name is no system call",
        ),
        (
            rule(r#"{"names": "read", "action": "SCMP_ACT_LOG"}"#),
            "line 3, column 16: syscalls[0].names: invalid type: string \"read\", expected a sequence",
        ),
    ] {
        assert_eq!(error(&json), expected, "{json}");
    }
}

#[test]
fn what_is_too_large_is_not_read() {
    let error = Profile::from_json(&vec![b' '; MAX_PROFILE_BYTES + 1]).unwrap_err();
    assert_eq!(error.to_string(), "a profile of 4194305 bytes is above the limit of 4194304 bytes");
}

#[test]
fn warnings_tell_what_the_author_probably_did_not_mean() {
    let equal = |argument, value| Condition::new(argument, Comparison::Equal(value)).unwrap();
    let profile = Profile::new(Action::Errno(1))
        .architectures([Arch::X86, Arch::Aarch64])
        .rule(Action::Allow, ["mkdirs", "read", "zzzzzz", "arch_prctl", "chown32"])
        .rule_when(Action::Allow, ["socket"], [equal(0, 1), equal(0, 2), equal(1, 3)])
        .rule_when(Action::Allow, ["ioctl"], [equal(0, 1)])
        .rule_when(Action::Notify, ["ioctl"], [equal(1, 1)])
        .rule(Action::Notify, ["read"]);
    let warnings: Vec<_> = profile.resolve(Arch::X86_64).warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [
            "syscalls[1]: one argument is compared twice, so any one of the comparisons is enough, those of other \
             arguments included",
            "read on x86_64: a rule without conditions makes it ALLOW, the rule with NOTIFY does nothing",
            "ioctl on x86_64: `arg1 == 1: NOTIFY` comes before `arg0 == 1: ALLOW`, and both may match; a runtime may \
             refuse this",
            "read on x86: a rule without conditions makes it ALLOW, the rule with NOTIFY does nothing",
            "ioctl on x86: `arg1 == 1: NOTIFY` comes before `arg0 == 1: ALLOW`, and both may match; a runtime may \
             refuse this",
            "a machine of x86_64 never runs aarch64: the rules do not count for it",
            "not on x86_64: chown32",
            "no system call is named `mkdirs`, did you mean `mkdir`?",
            "no system call is named `zzzzzz`",
        ]
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(profile in strategy::profile(12), metadata in any::<Option<String>>()) {
        let profile = Profile { listener_metadata: metadata, ..profile };
        prop_assert_eq!(Profile::from_json(profile.to_json().as_bytes()), Ok(profile));
    }

    #[test]
    fn no_bytes_make_it_panic(
        profile in strategy::profile(4),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = profile.to_json().into_bytes();
        for (at, other, byte) in cuts {
            let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
            match byte % 4 {
                0 => bytes[at] = byte,
                1 => bytes.swap(at, other),
                2 => bytes.truncate(at.max(1)),
                _ => bytes = [&bytes[..at], &bytes[other.min(at)..]].concat(),
            }
        }
        if let Ok(profile) = Profile::from_json(&bytes) {
            let resolution = profile.resolve(Arch::X86_64);
            drop(compile(&resolution.normal_form));
            let _: Vec<_> = resolution.warnings.iter().map(Warning::to_string).collect();
        }
    }
}
