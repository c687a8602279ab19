//! Exit statuses, streams and signals: those of the command.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{agent, eventually, finish_child, processes_with, run, shell};

#[test]
fn the_status_is_the_commands() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let said = shell(&[], script);
        assert_eq!(said.status, Some(status), "{script}: {said:?}");
        assert_eq!(said.stderr, "", "{script}");
    }
}

#[test]
fn what_cannot_be_executed_is_126_and_what_is_not_there_127() {
    let no_interpreter = tempfile::NamedTempFile::new().unwrap();
    for (command, status) in [
        ("no-such-command", 127),
        ("/no/such/command", 127),
        ("/etc/passwd", 126),
        ("/tmp", 126),
        (no_interpreter.path().to_str().unwrap(), 126),
    ] {
        let said = run(&["--", command]);
        assert_eq!(said.status, Some(status), "{command}: {said:?}");
        let begins = format!("seccomp-agent: executing {command} failed: ");
        assert!(said.stderr.starts_with(&begins), "{said:?}");
    }
}

#[test]
fn our_own_failures_are_125_and_name_step_and_path() {
    for (arguments, word) in [
        (&["--no-such-option", "true"][..], "--no-such-option"),
        (&["--rootfs", "/no/where", "true"], "/no/where"),
        (&["--profile", "/no/where", "true"], "/no/where"),
        (&["--config", "/no/where", "true"], "/no/where"),
        (&["--agent", "/no/where", "--resolver", "demo-basic", "true"], "/no/where"),
        (&["--cap-add", "NO_SUCH", "true"], "NO_SUCH"),
        (&["--user", "nobody", "true"], "nobody"),
        (&["--name", "", "true"], "host name"),
        (&[], "COMMAND"),
    ] {
        let said = run(arguments);
        assert_eq!(said.status, Some(125), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(word), "{arguments:?}: {said:?}");
    }
    assert_eq!(run(&["--help"]).status, Some(0));
}

#[test]
fn standard_input_reaches_the_command_and_its_end_does() {
    let mut command = agent(&["run", "--", "sh", "-c", "wc -c; echo $?"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = finish_child(child, &vec![b'x'; 300_000]);
    assert_eq!(said.stdout, "300000\n0\n", "{said:?}");
}

#[test]
fn options_after_the_command_are_the_commands() {
    assert_eq!(run(&["echo", "--name", "-x", "--", "y"]).stdout, "--name -x -- y\n");
}

#[test]
fn a_signal_that_is_sent_to_us_reaches_the_command() {
    let script = "trap 'echo got; exit 9' USR1; echo ready-for-usr1 >&2; while :; do sleep 0.05; done";
    let mut command = agent(&["run", "--", "sh", "-c", script]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    // The command's own line, and that of its init.
    assert!(eventually(|| processes_with("ready-for-usr1").len() >= 3));
    std::thread::sleep(std::time::Duration::from_millis(200));
    kill(pid, Signal::SIGUSR1).unwrap();
    let said = finish_child(child, b"");
    assert_eq!((said.status, said.stdout.as_str()), (Some(9), "got\n"), "{said:?}");
}

#[test]
fn an_ignored_signal_stays_ignored_and_sigpipe_is_as_usual() {
    let said = shell(&[], "grep SigIgn /proc/self/status");
    let ignored = u64::from_str_radix(said.stdout.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0, "SIGPIPE is ignored: {said:?}");
    let mut nohup = std::process::Command::new("nohup");
    let said = crate::support::finish(nohup.arg(env!("CARGO_BIN_EXE_seccomp-agent")).args([
        "run",
        "--",
        "grep",
        "SigIgn",
        "/proc/self/status",
    ]));
    let ignored = u64::from_str_radix(said.stdout.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "SIGHUP is not ignored: {said:?}");
}
