//! Options, exit codes and logs of the binary.

use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Daemon, Ended, Serve, binaries, run_for};

fn agent(arguments: &[&str]) -> Ended {
    let mut command = Command::new(binaries::agent().unwrap());
    run_for(Duration::from_secs(10), command.args(arguments)).unwrap()
}

#[test]
fn wrong_usage_and_wrong_configuration_exit_with_2() {
    let bed = Bed::new().unwrap();
    let socket = bed.socket();
    let socket = socket.to_str().unwrap();
    let broken = bed.path().join("broken.yaml");
    std::fs::write(&broken, "unknown_key: [1, 2\n").unwrap();
    let broken = broken.to_str().unwrap();
    for arguments in [
        &["serve", "--unknown"][..],
        &["serve", "--socket", socket, "--resolver", "unknown"],
        &["serve", "--socket", socket, "--log-format", "unknown"],
        &["serve", "--socket", socket, "--log-level", "unknown"],
        &["serve", "--socket", socket, "--metrics-bind-address", "unknown"],
        &["serve", "--socket", socket, "--config", broken],
        &["serve", "--socket", socket, "--config", "/nowhere/config.yaml"],
        &["unknown"],
    ] {
        let ended = agent(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_version_carries_the_commit() {
    let ended = agent(&["--version"]);
    assert!(ended.success(), "{ended}");
    let head = Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    let carried = ended
        .stdout
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|word| word.len() >= 7 && head.starts_with(word));
    assert!(carried, "{} is not of commit {head}", ended.stdout);
}

#[test]
fn help_names_every_option() {
    let ended = agent(&["serve", "--help"]);
    let options =
        ["--config", "--socket", "--resolver", "--log-format", "--log-level", "--metrics-bind-address"];
    for option in options {
        assert!(ended.stdout.contains(option), "{option}: {ended}");
    }
    assert!(ended.stdout.contains("/run/seccomp-agent.socket"), "{ended}");
}

#[test]
fn json_logs_are_json_lines() {
    let bed = Bed::new().unwrap();
    let mut daemon = Daemon::serve(&bed, &["--log-format", "json"]).unwrap();
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    let log = daemon.log();
    assert!(log.contains("listening"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string(), "{line}");
    }
}

#[test]
fn the_log_level_is_honoured_and_so_is_rust_log() {
    let bed = Bed::new().unwrap();
    let mut quiet = Daemon::serve(&bed, &["--log-level", "error"]).unwrap();
    quiet.stop().unwrap();
    assert_eq!(quiet.log(), "");
    let mut quiet = Serve::new(&bed, &[]).unwrap().env("RUST_LOG", "error").start().unwrap();
    quiet.stop().unwrap();
    assert_eq!(quiet.log(), "");
}
