//! `seccomp-agent recordings`, on recordings that were written by hand.

// What fails here is to end the test.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Seconds since 1970 of two days.
const OLD: u64 = 1_700_000_000;
const NEW: u64 = 1_790_000_000;

/// A directory with a recording `web` of two runs.
fn recordings() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let seen = |count: u64, last: u64| json!({"count": count, "first": OLD, "last": last});
    let mut socket = seen(7, NEW);
    socket["arguments"] = json!({"values": [[2, 1, 0]]});
    let calls = |calls: Value| json!({"runtimes": ["runc"], "calls": {"SCMP_ARCH_X86_64": calls}});
    let first = calls(json!({"read": seen(2, OLD), "mkdir": seen(1, OLD)}));
    let second = calls(json!({"read": seen(3, NEW), "socket": socket}));
    let runs = json!({"0".repeat(32): first, "1".repeat(32): second});
    let recording = json!({"version": 2, "runs": runs});
    fs::write(directory.path().join("web.json"), recording.to_string()).unwrap();
    directory
}

fn agent(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seccomp-agent"));
    command.arg("recordings").args(words).arg("--recordings").arg(directory);
    command.env_remove("RUST_LOG").output().unwrap()
}

#[track_caller]
fn said(directory: &TempDir, words: &[&str]) -> String {
    let output = agent(directory.path(), words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(directory: &TempDir, words: &[&str]) -> String {
    let output = agent(directory.path(), words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn calls(directory: &TempDir, name: &str) -> Vec<String> {
    let shown = parsed(&said(directory, &["show", name, "--output", "json"]));
    let mut calls: Vec<_> = shown["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["call"].as_str().unwrap().to_owned())
        .collect();
    calls.sort();
    calls
}

/// All recordings with their numbers of runs.
fn runs(directory: &TempDir) -> Vec<(String, u64)> {
    let list = parsed(&said(directory, &["list", "--output", "json"]));
    let row = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["runs"].as_u64().unwrap());
    list.as_array().unwrap().iter().map(row).collect()
}

/// The names that a profile allows, whatever their arguments.
fn allowed(profile: &Value) -> Vec<&str> {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let whole = rules.filter(|rule| rule.get("args").is_none() && rule["action"] == "SCMP_ACT_ALLOW");
    whole.flat_map(|rule| rule["names"].as_array().unwrap()).filter_map(Value::as_str).collect()
}

#[test]
fn recordings_are_listed_with_runs_calls_and_when_they_were_last_seen() {
    let directory = recordings();
    let list = parsed(&said(&directory, &["list", "--output", "json"]));
    assert_eq!(list, json!([{"name": "web", "runs": 2, "calls": 3, "violations": 0, "last": NEW}]));
    let text = said(&directory, &["list"]);
    assert!(text.lines().nth(1).unwrap().starts_with("web      2      3           0  2026-09-21"), "{text}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_told() {
    let directory = recordings();
    let commands = [
        &["recordings", "list"][..],
        &["recordings", "show", "web"],
        &["recordings", "profile", "web"],
        &["recordings", "amend", "web", "--allow", "chroot"],
        &["recordings", "reset", "web", "--runs", "1", "--dry-run"],
        &["profile", "new", "--record", "web", "--for", "crun"],
    ];
    for words in commands {
        let run = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_seccomp-agent"));
            command.args(words);
            if words[0] == "recordings" {
                command.arg("--recordings").arg(directory.path());
            }
            command.stdout(stdout).output().unwrap()
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let gone = run(writer.into());
        assert!(gone.status.success() && gone.stderr.is_empty(), "{words:?}: {gone:?}");
        let full = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        let message = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{words:?}: {message}");
        assert!(message.contains("standard output"), "{words:?}: {message}");
    }
}

#[test]
fn runs_that_saw_only_what_was_not_known_are_told_apart() {
    let directory = recordings();
    let path = directory.path().join("web.json");
    assert!(said(&directory, &["show", "web"]).starts_with("web: 2 runs\n"));
    let mut web = parsed(&fs::read_to_string(&path).unwrap());
    web["runs"]["1".repeat(32)]["partial"] = json!(true);
    fs::write(&path, web.to_string()).unwrap();
    let text = said(&directory, &["show", "web"]);
    assert!(text.starts_with("web: 2 runs, 1 of them saw only what was not known yet\n"), "{text}");
    assert_eq!(parsed(&said(&directory, &["show", "web", "--output", "json"]))["partial"], 1);
    let profile = directory.path().join("profile.json");
    said(&directory, &["profile", "web", "--for", "runc", "--args", "-o", profile.to_str().unwrap()]);
    assert!(allowed(&parsed(&fs::read_to_string(&profile).unwrap())).contains(&"socket"));
    let why = parsed(&fs::read_to_string(profile.with_extension("provenance.json")).unwrap());
    assert_eq!((&why["runs"], &why["partial"]), (&json!(2), &json!(1)));
}

#[test]
fn a_damaged_recording_hides_no_other() {
    let directory = recordings();
    fs::write(directory.path().join("damaged.json"), "{").unwrap();
    let output = agent(directory.path(), &["list"]);
    let (list, message) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(list.contains("web ") && message.contains("damaged.json"), "{output:?}");
}

#[test]
fn a_recording_is_shown_with_coverage_and_arguments() {
    let directory = recordings();
    let text = said(&directory, &["show", "web"]);
    let socket = text.lines().find(|line| line.contains("socket")).unwrap();
    assert!(socket.contains("1 of 2") && socket.ends_with("0x2,0x1,0x0"), "{text}");
    let shown = parsed(&said(&directory, &["show", "web", "--output", "json"]));
    assert_eq!(
        (shown["calls"][1]["call"].as_str(), shown["calls"][1]["runs"].as_u64()),
        (Some("read"), Some(2))
    );
}

#[test]
fn a_profile_goes_to_standard_output_or_with_its_reasons_to_files() {
    let directory = recordings();
    let profile = parsed(&said(&directory, &["profile", "web", "--for", "runc"]));
    assert!(allowed(&profile).contains(&"socket") && profile["defaultAction"] == "SCMP_ACT_ERRNO");

    let output = directory.path().join("out/web.profile.json");
    fs::create_dir(output.parent().unwrap()).unwrap();
    let path = output.to_str().unwrap();
    let options = ["--args", "--base", "minimal", "--default-action", "kill-process", "-o", path];
    assert_eq!(said(&directory, &[&["profile", "web"][..], &options].concat()), "");
    let profile = parsed(&fs::read_to_string(&output).unwrap());
    assert!(!allowed(&profile).contains(&"socket") && allowed(&profile).contains(&"set_robust_list"));
    assert_eq!(profile["defaultAction"], "SCMP_ACT_KILL_PROCESS");
    let why = fs::read_to_string(output.with_extension("provenance.json")).unwrap();
    assert_eq!(parsed(&why)["allowed"]["socket"][0]["runs"], 1);
}

#[test]
fn what_a_base_refuses_stays_refused_and_is_told() {
    let directory = recordings();
    let base = directory.path().join("base.txt");
    let rule = json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO"});
    fs::write(&base, json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}).to_string()).unwrap();
    let output = agent(directory.path(), &["profile", "web", "--base", base.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert!(!allowed(&parsed(&String::from_utf8(output.stdout).unwrap())).contains(&"socket"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("refused by the base: socket"));
}

#[test]
fn runs_of_files_and_directories_are_added_and_nothing_if_one_is_wrong() {
    let (here, there) = (recordings(), recordings());
    fs::copy(there.path().join("web.json"), there.path().join("db.json")).unwrap();
    let (other, file) = (there.path().to_str().unwrap(), there.path().join("db.json"));
    // A run counts once, wherever it comes from.
    said(&here, &["merge", "web", other, file.to_str().unwrap()]);
    assert_eq!(runs(&here), [("web".to_owned(), 2)]);
    said(&here, &["merge", "--all", other]);
    assert_eq!(runs(&here), [("db".to_owned(), 2), ("web".to_owned(), 2)]);
    let text = fs::read_to_string(&file).unwrap().replace(&"1".repeat(32), &"2".repeat(32));
    fs::write(&file, text).unwrap();
    said(&here, &["merge", "web", file.to_str().unwrap()]);
    assert_eq!(runs(&here), [("db".to_owned(), 2), ("web".to_owned(), 3)]);

    // By what is written to standard output, too: that is all there is of another node's.
    let exported = there.path().join("exported");
    fs::write(&exported, said(&there, &["export", "db"])).unwrap();
    said(&here, &["merge", "exported", exported.to_str().unwrap()]);
    assert_eq!(said(&here, &["export", "exported"]), said(&there, &["export", "db"]));
    said(&here, &["reset", "exported", "--all"]);
    fs::remove_file(exported).unwrap();
    assert!(refused(&here, &["export", "wbe"]).contains("no recording \"wbe\""));

    // What was written of runs that had not ended, and nothing that a profile did not allow.
    fs::copy(&file, there.path().join(format!("api.{}.run", "2".repeat(32)))).unwrap();
    fs::copy(&file, there.path().join("bad.violations")).unwrap();
    fs::copy(&file, there.path().join(format!("db.{}.run", "2".repeat(32)))).unwrap();
    said(&here, &["merge", "api", other]);
    said(&here, &["merge", "--all", other]);
    assert_eq!(runs(&here), [("api".to_owned(), 2), ("db".to_owned(), 3), ("web".to_owned(), 3)]);
    assert!(refused(&here, &["merge", "bad", other]).contains("no recording \"bad\""));

    fs::write(there.path().join("zz.json"), "{").unwrap();
    let message = refused(&here, &["merge", "--all", other]);
    assert!(message.contains("zz.json"), "{message}");
    assert!(refused(&here, &["merge", "web", here.path().to_str().unwrap()]).contains("is here already"));
    assert_eq!(runs(&here), [("api".to_owned(), 2), ("db".to_owned(), 3), ("web".to_owned(), 3)]);
}

#[test]
fn what_was_not_seen_for_long_is_dropped_after_it_was_looked_at() {
    let directory = recordings();
    let path = directory.path().join("web.json");
    let whole = fs::read_to_string(&path).unwrap();
    // Without a run since then, nothing is known of what is still used.
    fs::write(&path, whole.replace(&"1".repeat(32), &format!("{:0>32}", "1"))).unwrap();
    let message = refused(&directory, &["reset", "web", "--before", "2024-01-01"]);
    assert!(message.contains("no run in which all calls"), "{message}");
    fs::write(&path, whole).unwrap();
    let text = said(&directory, &["reset", "web", "--before", "2024-01-01", "--dry-run"]);
    assert!(text.contains("1 of 3 calls would be") && text.contains("mkdir"), "{text}");
    assert_eq!(calls(&directory, "web"), ["mkdir", "read", "socket"]);
    said(&directory, &["reset", "web", "--before", "2024-01-01"]);
    assert_eq!(calls(&directory, "web"), ["read", "socket"]);
    said(&directory, &["reset", "web", "--all"]);
    assert_eq!(said(&directory, &["list", "--output", "json"]), "[]\n");
}

#[test]
fn what_only_older_runs_did_is_dropped_with_them_and_amendments_stay() {
    let directory = recordings();
    said(&directory, &["amend", "web", "--allow", "chmod"]);
    let text = said(&directory, &["reset", "web", "--runs", "1"]);
    assert!(text.contains("newest 1 of 2 runs kept") && text.contains("mkdir"), "{text}");
    assert_eq!(calls(&directory, "web"), ["read", "socket"]);
    assert_eq!(runs(&directory), [("web".to_owned(), 1)]);
    assert!(said(&directory, &["show", "web"]).contains("allowed by hand: chmod"));
}

#[test]
fn violations_are_shown_and_become_part_of_the_recording() {
    let directory = recordings();
    let violation = json!({"bind": {"count": 4, "first": OLD, "last": NEW}});
    let facts = json!({"calls": {"SCMP_ARCH_X86_64": violation}});
    let violations = json!({"version": 2, "runs": {"3".repeat(32): facts}});
    fs::write(directory.path().join("web.violations"), violations.to_string()).unwrap();
    let list = parsed(&said(&directory, &["list", "--output", "json"]));
    assert_eq!((list[0]["violations"].as_u64(), list.as_array().unwrap().len()), (Some(1), 1));
    let shown = parsed(&said(&directory, &["show", "web", "--output", "json"]));
    assert_eq!(shown["violations"][0]["call"], "bind");
    assert!(said(&directory, &["amend", "web", "--violations"]).contains("bind"));
    assert!(calls(&directory, "web").contains(&"bind".to_owned()));
    assert!(said(&directory, &["amend", "web", "--violations"]).contains("none"));
}

#[test]
fn violations_of_what_was_never_recorded_are_listed_shown_amended_and_dropped() {
    let directory = recordings();
    let facts = json!({"calls": {"SCMP_ARCH_X86_64": {"bind": {"count": 4, "first": OLD, "last": NEW}}}});
    let violations = json!({"version": 2, "runs": {"3".repeat(32): facts}}).to_string();
    for name in ["api", "old"] {
        fs::write(directory.path().join(format!("{name}.violations")), &violations).unwrap();
    }
    let list = parsed(&said(&directory, &["list", "--output", "json"]));
    let api = json!({"name": "api", "runs": 0, "calls": 0, "violations": 1, "last": NEW});
    assert_eq!((&list[0], list.as_array().unwrap().len()), (&api, 3));
    assert!(said(&directory, &["show", "api"]).contains("\nviolations, x86_64\n"));
    let message = refused(&directory, &["profile", "api"]);
    assert!(message.contains("violations only") && message.contains("amend api --violations"), "{message}");
    said(&directory, &["amend", "api", "--violations"]);
    assert_eq!(calls(&directory, "api"), ["bind"]);
    assert!(said(&directory, &["reset", "old", "--all"]).contains("1 of 1 calls dropped\nbind"));
    assert_eq!(runs(&directory), [("api".to_owned(), 1), ("web".to_owned(), 2)]);
}

#[test]
fn calls_are_allowed_by_hand_and_this_is_taken_back() {
    let directory = recordings();
    said(&directory, &["amend", "web", "--allow", "chmod,openat2", "--allow", "socket"]);
    let profile = parsed(&said(&directory, &["profile", "web", "--args"]));
    for name in ["chmod", "openat2", "socket"] {
        assert!(allowed(&profile).contains(&name), "{name}");
    }
    let message = refused(&directory, &["amend", "web", "--allow", "bind", "--allow", "mkdri"]);
    assert!(message.contains("did you mean \"mkdir\"?"), "{message}");
    said(&directory, &["amend", "web", "--withdraw", "chmod"]);
    let profile = parsed(&said(&directory, &["profile", "web"]));
    assert!(!allowed(&profile).contains(&"chmod") && !allowed(&profile).contains(&"bind"));
    assert!(refused(&directory, &["amend", "web", "--withdraw", "chmod"]).contains("by hand"));
}

#[test]
fn a_misspelt_name_finds_the_one_that_was_meant() {
    let directory = recordings();
    fs::copy(directory.path().join("web.json"), directory.path().join("frontend.json")).unwrap();
    let words = [
        &["show", "frontned"][..],
        &["profile", "frontned"],
        &["amend", "frontned", "--allow", "read"],
        &["reset", "frontned", "--all"],
    ];
    for words in words {
        let message = refused(&directory, words);
        assert!(message.contains("did you mean \"frontend\"?"), "{words:?}: {message}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_directory_that_is_not_there_is_named_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("nowhere");
    let output = agent(&nowhere, &["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nowhere") && !nowhere.exists());
}

#[test]
fn wrong_usage_is_2() {
    let directory = recordings();
    for words in [
        &["reset", "web"][..],
        &["reset", "web", "--all", "--before", "1d"],
        &["reset", "web", "--runs", "0"],
        &["reset", "web", "--before", "yesterday"],
        &["amend", "web"],
        &["show", "a/b"],
        &["profile", "web", "--default-action", "allow"],
        &["profile", "web", "--for", "youki"],
    ] {
        assert_eq!(agent(directory.path(), words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_complaining_profile_leaves_to_the_agent_what_was_not_recorded() {
    let directory = recordings();
    let words = ["profile", "web", "--for", "runc", "--complain", "--listener-path", "/run/other.socket"];
    let profile = parsed(&said(&directory, &words));
    assert_eq!(profile["listenerMetadata"], "COMPLAIN=web");
    assert_eq!(profile["listenerPath"], "/run/other.socket");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let action = |call: &str| {
        let rules = profile["syscalls"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["names"].as_array().unwrap().contains(&call.into()));
        rule.map(|rule| rule["action"].as_str().unwrap().to_owned())
    };
    for (call, expected) in
        [("mkdir", "SCMP_ACT_ALLOW"), ("write", "SCMP_ACT_ALLOW"), ("rmdir", "SCMP_ACT_NOTIFY")]
    {
        assert_eq!(action(call).as_deref(), Some(expected), "{call}");
    }
    let plain = parsed(&said(&directory, &["profile", "web"]));
    assert!(plain["listenerPath"].is_null(), "{plain}");
}
