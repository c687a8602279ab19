//! Nothing outlives a container.

use std::process::Stdio;

use crate::support::{agent, eventually, processes_with, shell};

#[test]
fn a_killed_launcher_leaves_no_process() {
    for options in [&[][..], &["--resolver", "demo-basic"]] {
        // A number that no other process has on its command line.
        let word = format!("86400.{}{}", std::process::id(), options.len());
        let script = format!(
            "setsid sleep {word} & setsid sh -c 'trap \"\" TERM HUP; sleep {word}; :' & sleep {word}"
        );
        let mut command = agent(&["run"]);
        command.args(options).args(["--", "sh", "-c", &script]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        // The launcher, init, three shells and three sleeps.
        assert!(eventually(|| processes_with(&word).len() >= 7));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(eventually(|| processes_with(&word).is_empty()), "{:?}", processes_with(&word));
    }
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let word = format!("86400.{}9", std::process::id());
    let said = shell(&[], &format!("setsid sleep {word} >/dev/null 2>&1 & exit 4"));
    assert_eq!(said.status, Some(4), "{said:?}");
    assert!(processes_with(&word).is_empty());
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status; echo end";
    let said = shell(&[], script);
    assert_eq!(said.stdout, "end\n", "{said:?}");
}
