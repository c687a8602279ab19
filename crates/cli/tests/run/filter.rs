//! Profiles: loaded exactly, or not at all.

use std::path::Path;

use crate::support::{directory, profile, run, shell};

fn with_profile(text: &str, script: &str) -> crate::support::Said {
    let directory = directory();
    let path = profile(&directory, text);
    shell(&["--profile", path.to_str().unwrap()], script)
}

#[test]
fn a_profile_refuses_what_it_says() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
        [{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    let said = with_profile(text, "mkdir /tmp/no-such-directory; echo $?; grep Seccomp: /proc/self/status");
    assert!(said.stderr.contains("No space left"), "{said:?}");
    assert_eq!(said.stdout, "1\nSeccomp:\t2\n");
}

#[test]
fn a_profile_may_notify_everything() {
    for text in [
        r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#.to_owned(),
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"action":"SCMP_ACT_NOTIFY","names":{:?}}}]}}"#,
            ["sendmsg", "execve", "write", "read", "exit_group", "close", "futex", "fcntl", "dup", "getpid"]
        ),
    ] {
        let said = with_profile(&text, "echo said; exit 5");
        assert_eq!((said.status, said.stdout.as_str()), (Some(5), "said\n"), "{said:?}");
        // Even a command that cannot be executed is reported.
        let directory = directory();
        let path = profile(&directory, &text);
        assert_eq!(run(&["--profile", path.to_str().unwrap(), "/etc/passwd"]).status, Some(126));
    }
}

#[test]
fn a_command_that_may_not_even_be_executed_says_so() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
        [{"names":["execve","exit_group"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#;
    let said = with_profile(text, "true");
    assert_eq!(said.status, Some(126), "{said:?}");
    assert!(said.stderr.contains("ermission denied"), "{said:?}");
}

#[test]
fn what_cannot_be_loaded_exactly_is_refused_with_the_reason() {
    let rules: Vec<_> = (0..5000).map(|value| {
        format!(r#"{{"names":["mkdir"],"action":"SCMP_ACT_LOG","args":[{{"index":0,"value":1{value}7,"op":"SCMP_CMP_EQ"}}]}}"#)
    }).collect();
    let long = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rules.join(","));
    for (text, reason) in [
        ("{", "line 1"),
        (r#"{"defaultAction":"SCMP_ACT_ALOW"}"#, "SCMP_ACT_ALLOW"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdirr"],"action":"SCMP_ACT_LOG"}]}"#,
            "did you mean `mkdir`",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},
               {"names":["read"],"action":"SCMP_ACT_LOG"}]}"#,
            "does nothing",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW"]}"#,
            "SECCOMP_FILTER_FLAG_NEW",
        ),
        (&long, "4096"),
    ] {
        let said = with_profile(text, "echo started");
        assert_eq!((said.status, said.stdout.as_str()), (Some(125), ""), "{reason}: {said:?}");
        assert!(
            said.stderr.contains(reason) && said.stderr.starts_with("seccomp-agent: "),
            "{reason}: {said:?}"
        );
        assert!(said.stderr.contains("profile.json"), "{said:?}");
    }
}

#[test]
fn without_a_profile_and_without_handlers_nothing_is_notified() {
    // A second listener would be refused (EBUSY) if there were one.
    let own = env!("CARGO_BIN_EXE_seccomp-agent");
    let said = run(&["--cap-add", "ALL", "--", own, "run", "--resolver", "demo-basic", "--", "true"]);
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn the_demo_answers_in_this_process() {
    let directory = directory();
    let path = directory.path().to_str().unwrap();
    let script = format!("cd {path}; mkdir abc; ls; chmod 700 {path}");
    let said = shell(&["--resolver", "demo-basic"], &script);
    let made = said.stdout.trim();
    let pid = made.strip_prefix("abc-pid-").unwrap_or_else(|| panic!("{said:?}"));
    assert!(pid.parse::<u32>().unwrap() > 2);
    assert!(said.stderr.contains("Bad message"), "{said:?}");
    assert!(Path::new(path).join(made).is_dir());
}
