//! `seccomp-agent profile verify`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Said, agent, directory, finish, rootfs};

const SCRIPT: &str = "(echo one); mkdir /made; exit 3";

fn verify(root: &Path, file: &Path, options: &[&str], words: &[&str]) -> Said {
    let mut command = agent(&["profile", "verify", "--rootfs"]);
    command.arg(root).args(options).arg(file).arg("--");
    finish(command.args(words))
}

/// A profile that [`SCRIPT`] was recorded for.
fn recorded(root: &Path, directory: &TempDir) -> PathBuf {
    let profile = directory.path().join("profile.json");
    let mut record = agent(&["record", "--rootfs"]);
    record.arg(root).arg("--output").arg(&profile).args(["--", "sh", "-c", SCRIPT]);
    assert_eq!(finish(&mut record).status, Some(3));
    fs::remove_dir(root.join("made")).unwrap();
    profile
}

fn without(profile: &Path, taken: &[&str]) {
    let mut text: Value = serde_json::from_slice(&fs::read(profile).unwrap()).unwrap();
    for rule in text["syscalls"].as_array_mut().unwrap() {
        let names = rule["names"].as_array_mut().unwrap();
        names.retain(|name| !taken.iter().any(|taken| name == taken));
    }
    fs::write(profile, text.to_string()).unwrap();
}

#[test]
fn a_profile_that_is_enough_refuses_nothing_whatever_the_commands_status() {
    let (root, directory) = (rootfs(), directory());
    let profile = recorded(root.path(), &directory);
    let said = verify(root.path(), &profile, &[], &["sh", "-c", SCRIPT]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "one\n"), "{said:?}");
    assert!(said.stderr.contains("status 3"), "{said:?}");
}

#[test]
fn all_that_is_missing_is_named_with_its_caller_and_happens_nonetheless() {
    let (root, directory) = (rootfs(), directory());
    let profile = recorded(root.path(), &directory);
    without(&profile, &["mkdir", "mkdirat", "clone", "fork", "execve"]);
    let said = verify(root.path(), &profile, &[], &["sh", "-c", SCRIPT]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), "one\n"), "{said:?}");
    for (call, caller) in [("mkdir", "mkdir["), ("clone", "sh["), ("execve", "")] {
        let is_of = |line: &&str| line.split_whitespace().nth(1).is_some_and(|word| word.starts_with(call));
        let line = said.stderr.lines().find(is_of);
        assert!(line.is_some_and(|line| line.contains(caller) && line.contains("ERRNO")), "{call}: {said:?}");
    }
    assert!(root.path().join("made").is_dir());
}

#[test]
fn arguments_are_compared_and_the_report_is_json_for_machines() {
    let (root, directory) = (rootfs(), directory());
    let profile = directory.path().join("profile.json");
    let text = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 5, "value": 0, "op": "SCMP_CMP_GE"}]},
        {"names": ["chmod"], "action": "SCMP_ACT_NOTIFY"}]});
    fs::write(&profile, text.to_string()).unwrap();
    let words = ["sh", "-c", "echo out; mkdir /a /b; chmod 700 /a"];
    let said = verify(root.path(), &profile, &["--output", "json"], &words);
    assert_eq!(said.status, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let refused = &report["refused"][0];
    assert_eq!((refused["count"].as_u64(), refused["callers"][0]["comm"].as_str()), (Some(2), Some("mkdir")));
    assert_eq!((report["refused"].as_array().unwrap().len(), report["exit_status"].as_u64()), (1, Some(0)));
    assert_eq!(said.stderr, "out\n");
}

#[test]
fn what_cannot_be_verified_is_told() {
    let (root, directory) = (rootfs(), directory());
    let broken = directory.path().join("broken.json");
    fs::write(&broken, "{").unwrap();
    let good = directory.path().join("good.json");
    fs::write(&good, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    for (file, word, status) in [
        (broken.as_path(), "sh", 2),
        (Path::new("/no/such/profile"), "sh", 2),
        (good.as_path(), "/no/such/program", 127),
    ] {
        let said = verify(root.path(), file, &[], &[word]);
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(said.stderr.starts_with("seccomp-agent: "), "{said:?}");
    }
    assert_eq!(finish(agent(&["profile", "verify", "--"]).arg("true")).status, Some(2));
    let help = finish(&mut agent(&["profile", "verify", "--help"]));
    assert!(help.stdout.contains("REALLY RUNS"), "{help:?}");
}
