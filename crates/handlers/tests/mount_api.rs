//! A procfs mounted step by step (`fsopen` to `move_mount`) for processes that may not mount. Needs root and a C
//! compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;
use support::mount_api::{granted, program};

/// With the kernel's newer parts and without.
fn kernels() -> [Features; 2] {
    let now = Features::probe();
    [now, Features { proc_pidns: false, ..now }]
}

fn as_natively(part: &str) {
    let native = program(part, None, Features::probe(), 0);
    assert!(native.contains("fine") && native.contains(" - proc "), "{native}");
    for features in kernels() {
        for uid in [0, 1000] {
            assert_eq!(program(part, Some(granted()), features, uid), native, "uid {uid}, {features:?}");
        }
    }
}

#[test]
fn contexts_are_configured_as_natively() {
    as_natively("contexts");
}

#[test]
fn detached_mounts_are_changed_as_natively() {
    as_natively("attributes");
}

#[test]
fn mounts_are_attached_where_they_would_be_natively() {
    as_natively("places");
}

/// The lines that the part about limits says.
fn limits(registry: Registry) -> Vec<String> {
    let said = program("limits", Some(registry), Features::probe(), 0);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_but_a_safe_procfs_is_mounted_and_that_once() {
    let expected = [
        "another file system: EPERM",
        "pid namespace by descriptor: EINVAL",
        "pid namespace by path: EINVAL",
        "path: EINVAL",
        "binary: EINVAL",
        "clear: fine",
        "shared: EPERM",
        "clone: EPERM",
        "a directory of it: EPERM",
        "beneath: EPERM",
        "another mount: EPERM",
        "its attributes: EPERM",
        "move: fine",
        "move again: EPERM",
        "attached: EPERM",
        "/ on /d: rw,nosuid,nodev,noexec,relatime - proc none rw",
        "too many: ENFILE",
        "one less: fine",
        "given up: EPERM",
        "newest: fine",
    ];
    assert_eq!(limits(granted()), expected);
}

#[test]
fn who_is_granted_nothing_gets_nothing() {
    let said = program("attributes", Some(Registry::new()), Features::probe(), 0);
    assert_eq!(said, "context: EPERM\n");
}

#[test]
fn in_a_user_namespace_of_its_own_the_kernel_gives_the_context() {
    let said = program("user", Some(granted()), Features::probe(), 1000);
    assert_eq!(said, "unshare: fine\nopen: fine\nanon_inode:[fscontext]\n");
}
