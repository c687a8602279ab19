//! Memory, descriptors and roots that change while they are looked at. Needs root and a C compiler. Each race runs
//! for a second, in CI for ten, or for as many as `RACE_SECONDS` says.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use rustix::fs::{CWD, Mode, mkdirat};
use seccomp_agent_handlers::{Attributes, HostFile, Modes, Openings};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::audit::{Records, audited, record};
use support::program::compile;
use support::race::{NAMES, race, race_duration};
use support::tree::{build, kind};

/// Runs the program `changing`, which becomes user 1000, and gives what it printed and what was written down.
fn changing(registry: Registry, root: &std::path::Path, arguments: Vec<String>) -> (String, Records) {
    let program = compile("changing", root);
    let here = root.to_owned();
    let seconds = race_duration().as_secs().to_string();
    let body = move || {
        let mut command = Command::new(program);
        command.args(arguments).arg(seconds).current_dir(here.join("w")).output().unwrap()
    };
    let (said, records) = record(|| support::run(Some(audited(registry)), || (), body));
    assert!(said.status.success(), "{said:?}");
    (String::from_utf8(said.stdout).unwrap(), records)
}

#[test]
fn a_name_that_changes_is_the_one_that_was_granted() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let mut registry = Registry::new();
    registry.on("setxattr", Attributes::granting(["trusted.overlay."])).unwrap();
    let (_, records) = changing(registry, root.path(), vec!["name".into(), "own".into()]);
    let strange =
        [("handler", "attributes"), ("asked", r#"attribute=\"trusted.strange.x\""#), ("errno", "EPERM")];
    records.assert_refused(&strange);
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(root.path().join("w/own"), &mut names[..]).unwrap();
    let names = String::from_utf8_lossy(&names[..len]);
    let trusted: Vec<_> = names.split_terminator('\0').filter(|name| name.starts_with("trusted.")).collect();
    assert!(!trusted.is_empty(), "the race has run");
    assert!(trusted.iter().all(|name| name.starts_with("trusted.overlay.")), "{trusted:?}");
}

#[test]
fn a_path_that_changes_opens_what_is_granted_or_the_callers_own() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let file = |name: &str, mode| {
        let path = root.path().join("w/real").join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let (granted, secret) = (file("granted", 0o600), file("secrets", 0o600));
    let listed = HostFile {
        path: CString::new(granted.as_os_str().as_bytes()).unwrap(),
        host: CString::new(granted.as_os_str().as_bytes()).unwrap(),
        read_only: true,
    };
    let mut registry = Registry::new();
    for name in ["open", "openat"] {
        registry.on(name, Openings::granting(vec![listed.clone()]).unwrap()).unwrap();
    }
    let paths = [&granted, &secret].map(|path| path.to_str().unwrap().to_owned());
    let (said, records) = changing(registry, root.path(), ["path".into()].into_iter().chain(paths).collect());
    // What is not listed continues, which is not written down.
    let granted = [("handler", "open"), ("path", granted.to_str().unwrap()), ("decision", "granted")];
    assert!(records.count(&granted) > 0, "{records:?}");
    assert_eq!(records.count(&[("path", secret.to_str().unwrap())]), 0, "{records:?}");
    assert!(said.contains("granted\n"), "the race has run");
    assert!(!said.contains("secret"), "somebody else's file was opened");
}

#[test]
fn a_descriptor_that_becomes_anothers_file_changes_nothing_of_it() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let mut registry = Registry::new();
    registry.on("fchmod", Modes::granting(Capabilities::empty())).unwrap();
    let arguments = ["descriptor", "own", "file"].map(str::to_owned).to_vec();
    let (_, records) = changing(registry, root.path(), arguments);
    records.assert_refused(&[("handler", "modes"), ("syscall", "fchmod"), ("errno", "EPERM")]);
    let mode = |name: &str| fs::metadata(root.path().join("w").join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("file"), 0o644, "it is root's");
    assert_ne!(mode("own"), 0o644, "the race has run");
}

#[test]
fn a_root_that_changes_is_one_or_the_other() {
    let (root, other) = (tempfile::tempdir_in("/tmp").unwrap(), tempfile::tempdir_in("/tmp").unwrap());
    for root in [&root, &other] {
        build(root.path());
    }
    let roots = [root.path().to_owned(), other.path().to_owned()].map(|path| File::open(path).unwrap());
    let records = race(
        kind("user, chrooted"),
        support::emulations(),
        root.path(),
        move || {
            for root in &roots {
                // The host's is never one of them.
                let _ = rustix::process::fchdir(root).and_then(|()| rustix::process::chroot("."));
            }
        },
        |round| {
            let name = round % NAMES;
            let _ = mkdirat(CWD, format!("/w/made-{name}"), Mode::RWXU);
            let _ = mkdirat(CWD, format!("/../../../../tmp/escaped-{name}"), Mode::RWXU);
        },
    );
    records.assert_refused(&[
        ("handler", "directories"),
        ("path", "/../../../../tmp/escaped-*"),
        ("errno", "ENOENT"),
    ]);
    let count = |root: &tempfile::TempDir| fs::read_dir(root.path().join("w")).unwrap().count();
    assert!(count(&root) + count(&other) > 50, "the race has run");
    let names = fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("escaped-")).count(), 0);
}
