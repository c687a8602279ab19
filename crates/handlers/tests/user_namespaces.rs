//! Callers with a user namespace of their own. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use seccomp_agent_handlers::{Attributes, Directories, Modes, Nodes, Numbers, Owners};
use seccomp_agent_notify::Features;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;

/// Everything is granted.
fn registry(suffix: &str) -> Registry {
    let mut registry = Registry::new();
    let every =
        |is_block| seccomp_agent_handlers::Devices { is_block, major: Numbers::all(), minor: Numbers::all() };
    for name in ["mkdir", "mkdirat"] {
        registry.on(name, Directories::with_suffix(suffix)).unwrap();
    }
    for name in ["chmod", "fchmodat", "fchmodat2"] {
        registry.on(name, Modes::granting(Capabilities::FOWNER)).unwrap();
    }
    for name in ["chown", "lchown", "fchownat"] {
        registry.on(name, Owners::granting(Numbers::all(), Numbers::all())).unwrap();
    }
    registry.on("mknod", Nodes::granting(vec![every(true), every(false)])).unwrap();
    registry.on("mknodat", Nodes::granting(vec![every(true), every(false)])).unwrap();
    registry.on("setxattr", Attributes::granting(["trusted."])).unwrap();
    registry
}

#[test]
fn their_capabilities_and_our_grants_are_worth_nothing_outside() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    // User 1000 becomes root of a user namespace in which it is the only user.
    let inside = "id -u; busybox mkdir mine/native private/x; busybox chmod 777 file; busybox chmod 700 own; \
                  busybox chown 1000 file; busybox mknod real/null c 1 3; busybox mkdir readonly/x";
    let script = format!(
        "cd {}/w; unshare --user --map-root-user /bin/busybox sh -c '{inside}'",
        root.path().display()
    );
    let said = support::script(Some(registry("")), Features::probe(), 1000, || (), script);
    assert!(said.starts_with("0\n"), "{said}");
    let meta = |name: &str| fs::metadata(root.path().join("w").join(name));
    assert!(meta("mine/native").is_ok(), "what it may do itself is done: {said}");
    assert_eq!(meta("own").unwrap().mode() & 0o7777, 0o700, "{said}");
    assert_eq!((meta("file").unwrap().mode() & 0o7777, meta("file").unwrap().uid()), (0o644, 0), "{said}");
    for refused in ["private/x", "real/null", "readonly/x"] {
        assert!(meta(refused).is_err(), "{refused}: {said}");
    }
}

#[test]
fn a_suffix_is_appended_for_them_too() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    let inside = "busybox mkdir mine/a private/b";
    let script = format!(
        "cd {}/w; unshare --user --map-root-user /bin/busybox sh -c '{inside}'",
        root.path().display()
    );
    support::script(Some(registry("-x")), Features::probe(), 1000, || (), script);
    let made = fs::metadata(root.path().join("w/mine/a-x")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1000));
    assert!(!root.path().join("w/private/b-x").exists());
}
