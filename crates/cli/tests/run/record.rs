use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::support::{Said, agent, copy_program, directory, finish, rootfs, run};

/// What several processes do, one after the other. A shell's pipeline would do for one run in hundreds only: a child that
/// ends while the shell's next call is on its way to the recorder makes that fail with EINTR, and shells do not expect
/// it of close(2).
const SCRIPT: &str = "echo one; (echo two); (cd /bin && ls -d cat); exit 3";

fn record(root: &Path, output: &Path, options: &[&str]) -> Said {
    let mut command = agent(&["record"]);
    command.arg("--rootfs").arg(root).arg("--output").arg(output).args(options);
    finish(command.args(["--", "sh", "-c", SCRIPT]))
}

fn enforce(root: &Path, profile: &Path) -> Said {
    let (root, profile) = (root.to_str().unwrap(), profile.to_str().unwrap());
    run(&["--rootfs", root, "--profile", profile, "--", "sh", "-c", SCRIPT])
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_profile_of_three_runs_lets_the_command_do_what_it_did_and_nothing_else() {
    let (root, output) = (rootfs(), directory());
    let (profile, recordings) = (output.path().join("sh.json"), output.path().join("recordings"));
    let store = ["--args", "--name", "sh", "--recordings", recordings.to_str().unwrap()];
    let mut said = record(root.path(), &profile, &store);
    for _ in 1..3 {
        said = record(root.path(), &profile, &store);
    }
    assert_eq!((said.stdout.as_str(), said.status), ("one\ntwo\ncat\n", Some(3)), "{said:?}");
    let rows = said.stderr.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let has_write = rows.clone().any(|row| row.ends_with(&["3", "of", "3", "write"]));
    assert!(has_write && !said.stderr.contains("mkdir"), "{}", said.stderr);
    assert_eq!(json(&recordings.join("sh.json"))["runs"].as_object().map(serde_json::Map::len), Some(3));
    let why = json(&output.path().join("sh.provenance.json"));
    assert_eq!(why["allowed"]["write"][0]["because"], "recorded");

    let enforced = enforce(root.path(), &profile);
    assert_eq!((&enforced.stdout, enforced.status), (&said.stdout, said.status), "{enforced:?}");
    assert_eq!(enforced.stderr, "");
    let path = profile.to_str().unwrap();
    let more = run(&["--rootfs", root.path().to_str().unwrap(), "--profile", path, "--", "mkdir", "/new"]);
    assert_eq!(more.status, Some(1), "{more:?}");
    assert!(more.stderr.contains("not permitted"), "{more:?}");
}

#[test]
fn a_profile_without_a_needed_call_is_too_narrow() {
    let (root, output) = (rootfs(), directory());
    let profile = output.path().join("sh.json");
    let said = record(root.path(), &profile, &["--for", "crun"]);
    assert_eq!(said.status, Some(3), "{said:?}");
    let mut narrowed = json(&profile);
    for rule in narrowed["syscalls"].as_array_mut().unwrap() {
        let is_needed = |name: &Value| {
            name.as_str().is_some_and(|name| name.contains("fork") || name.starts_with("clone"))
        };
        rule["names"].as_array_mut().unwrap().retain(|name| !is_needed(name));
    }
    fs::write(&profile, narrowed.to_string()).unwrap();
    let enforced = enforce(root.path(), &profile);
    assert!(!enforced.stdout.contains("two"), "{enforced:?}");
}

#[test]
fn the_minimal_base_is_enough_to_load_a_program_and_to_read_and_write() {
    let output = directory();
    let recording = r#"{"version": 1, "runs": 1, "calls": {}}"#;
    fs::write(output.path().join("nothing.json"), recording).unwrap();
    let profile = output.path().join("profile");
    let mut make = agent(&["recordings", "profile", "nothing", "--base", "minimal", "--for", "crun"]);
    let said = finish(make.arg("--recordings").arg(output.path()).arg("-o").arg(&profile));
    assert_eq!(said.status, Some(0), "{said:?}");
    let profile = profile.to_str().unwrap();
    let said = run(&["--profile", profile, "--", "cat", "/proc/self/comm"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "cat\n"), "{said:?}");
    assert_ne!(run(&["--profile", profile, "--", "mkdir", output.path().to_str().unwrap()]).status, Some(0));
}

#[test]
fn a_command_that_would_not_end_is_ended_and_was_recorded() {
    let said = finish(&mut agent(&["record", "--duration", "5s", "--", "sleep", "600"]));
    assert_eq!(said.status, Some(128 + 15), "{said:?}");
    assert!(said.stderr.contains("clock_nanosleep") && !said.stderr.contains('\x1b'), "{said:?}");
}

#[test]
fn a_run_that_saw_nothing_changes_neither_recording_nor_profile() {
    let bundle = directory();
    fs::create_dir(bundle.path().join("rootfs")).unwrap();
    fs::write(bundle.path().join("config.json"), r#"{"root": {"path": "rootfs"}, "linux": {}}"#).unwrap();
    let runc = bundle.path().join("runc");
    let script = bundle.path().join("script");
    fs::write(&script, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(&script, &runc);
    let (profile, recordings) = (bundle.path().join("web.json"), bundle.path().join("recordings"));
    fs::write(&profile, "what was before").unwrap();
    let mut command = agent(&["record", "--name", "web", "--bundle"]);
    command.arg(bundle.path()).arg("--recordings").arg(&recordings).arg("-o").arg(&profile);
    let path = std::env::var("PATH").unwrap();
    let said = finish(command.env("PATH", format!("{}:{path}", bundle.path().display())));
    assert_eq!(said.status, Some(7), "{said:?}");
    assert!(said.stderr.contains("nothing was recorded"), "{said:?}");
    assert_eq!(fs::read_to_string(&profile).unwrap(), "what was before");
    assert!(fs::read_dir(&recordings).unwrap().next().is_none());
}

#[test]
fn what_cannot_be_recorded_is_told_as_env_tells_it() {
    let output = directory();
    for (words, status) in [
        (&["--", "/no/such/program"][..], 127),
        (&["--for", "youki", "--", "true"], 125),
        (&["--name", "a/b", "--recordings", "/tmp", "--", "true"], 125),
        (&["--default-action", "allow", "--", "true"], 125),
        (&["--duration", "5", "--", "true"], 125),
        (&["--bundle", ".", "--", "true"], 125),
        (&["--bundle", "/no/such/bundle"], 125),
        (&["--runtime", "crun", "--", "true"], 125),
        (&[], 125),
    ] {
        let said = finish(agent(&["record"]).args(words).current_dir(output.path()));
        assert_eq!(said.status, Some(status), "{words:?} {said:?}");
    }
    for place in [".", "no/such/file"] {
        let words = ["record", "-o", place, "--", "echo", "has run"];
        let said = finish(agent(&words).current_dir(output.path()));
        assert_eq!((said.status, said.stdout.as_str()), (Some(125), ""), "{place} {said:?}");
        assert!(said.stderr.contains("directory"), "{said:?}");
    }
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0);
}
