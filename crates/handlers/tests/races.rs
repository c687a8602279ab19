//! A container that changes things while the agent acts for it. Needs root and busybox. Each race runs for a
//! second, in CI for ten, or for as many as `RACE_SECONDS` says.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, chmodat, mkdirat, renameat_with};
use seccomp_agent_handlers::{Directories, Modes};
use seccomp_agent_notify::Features;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::audit::{audited, record};
use support::race::{NAMES, race, race_duration};
use support::tree::{build, kind};

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.on("mkdir", Directories::new()).unwrap();
    registry.on("mkdirat", Directories::new()).unwrap();
    registry.on("fchmodat", Modes::granting(Capabilities::empty())).unwrap();
    registry
}

fn exchange(one: &str, other: &str) {
    let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere_else() {
    let (root, outside) = (tempfile::tempdir_in("/tmp").unwrap(), tempfile::tempdir_in("/tmp").unwrap());
    build(root.path());
    fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let up = format!("../../../../../../../..{}", outside.path().display());
    symlink(up, root.path().join("w/link")).unwrap();
    let records = race(
        kind("user, chrooted"),
        registry(),
        root.path(),
        || exchange("real", "link"),
        |round| {
            let name = round % NAMES;
            let _ = mkdirat(CWD, format!("real/made-{name}"), Mode::RWXU);
            let _ = mkdirat(CWD, format!("link/made-{name}"), Mode::RWXU);
        },
    );
    records.assert_refused(&[("syscall", "mkdirat"), ("path", "link/made-*"), ("errno", "ENOENT")]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let made = ["w/real", "w/link"].iter().map(|name| root.path().join(name)).find(|path| !path.is_symlink());
    assert!(fs::read_dir(made.unwrap()).unwrap().count() > 0, "the race has run");
}

#[test]
fn a_file_that_becomes_anothers_is_not_changed() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    symlink("own", root.path().join("w/to-own")).unwrap();
    symlink("file", root.path().join("w/to-file")).unwrap();
    let records = race(
        kind("user"),
        registry(),
        root.path(),
        || exchange("to-own", "to-file"),
        |round| {
            let mode = Mode::from_raw_mode(if round % 2 == 0 { 0o4777 } else { 0o600 });
            let _ = chmodat(CWD, "to-own", mode, AtFlags::empty());
            let _ = chmodat(CWD, "to-file", mode, AtFlags::empty());
        },
    );
    records.assert_refused(&[("handler", "modes"), ("path", "to-file"), ("errno", "EPERM")]);
    let mode = |name: &str| fs::metadata(root.path().join("w").join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("file"), 0o644, "it is root's");
    assert_ne!(mode("own"), 0o644, "the race has run");
}

#[test]
fn a_working_directory_that_changes_is_one_or_the_other() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let records = race(
        kind("user, chrooted"),
        registry(),
        root.path(),
        || {
            let _ = rustix::process::chdir("/w/real");
            let _ = rustix::process::chdir("/w2");
        },
        |round| {
            let name = round % NAMES;
            let _ = mkdirat(CWD, format!("here-{name}"), Mode::RWXU);
            let _ = mkdirat(CWD, format!("../../../../up-{name}"), Mode::RWXU);
        },
    );
    assert!(records.count(&[("handler", "directories"), ("path", "../../../../up-*")]) > 0, "{records:?}");
    let found = |place: &str, name: &str| {
        let names = fs::read_dir(root.path().join(place)).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(name)).count()
    };
    let made = found("", "up-");
    assert!(made > 0 && found("w/real", "here-") + found("w2", "here-") > 0, "the race has run");
    assert!(found("", "here-") == 0);
}

#[test]
fn a_link_to_the_agents_root_is_never_followed() {
    let (root, outside) = (tempfile::tempdir_in("/tmp").unwrap(), tempfile::tempdir_in("/tmp").unwrap());
    build(root.path());
    fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let (at, agent) = (root.path().display(), std::process::id());
    let link = format!("/proc/{agent}/root{}", outside.path().display());
    let seconds = race_duration().as_secs();
    // A container in the agent's pid namespace: everything is another process, and sees the agent's.
    let script = format!(
        "cd {at}/w; while true; do busybox ln -sfn {link} swap; busybox ln -sfn real swap; done & \
         swapping=$!; while true; do i=$((i+1)); busybox mkdir swap/made-$i 2>/dev/null; done & \
         busybox sleep {seconds}; kill $swapping $!; busybox ls real | busybox wc -l"
    );
    let (made, records) =
        record(|| support::script(Some(audited(registry())), Features::probe(), 1000, || (), script));
    records.assert_refused(&[("handler", "directories"), ("path", "swap/made-*"), ("errno", "EACCES")]);
    assert!(made.trim().parse::<u32>().unwrap() > 0, "the race has run: {made}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn callers_that_are_killed_cost_the_agent_nothing() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let at = root.path().display();
    let seconds = race_duration().as_secs();
    let script = format!(
        "cd {at}/w; while true; do i=$((i+1)); \
         busybox mkdir real/a-$i real/b-$i real/c-$i real/d-$i & kill -9 $!; done & \
         busybox sleep {seconds}; kill $!; busybox mkdir real/last && echo fine"
    );
    let said = support::script(Some(registry()), Features::probe(), 1000, || (), script);
    assert!(said.ends_with("fine\n"), "{said}");
    // Other tests of this file open and close some at the same time; a leak would be hundreds.
    assert!(descriptors() < before + 50, "{before} descriptors have become {}", descriptors());
}
