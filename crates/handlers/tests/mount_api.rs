//! A procfs mounted step by step (`fsopen` to `move_mount`) for processes that may not mount. Needs root and a C
//! compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;
use support::mount_api::{all, granted, program, program_after};
use support::mounts::mount;

/// With the kernel's newer parts and without.
fn kernels() -> [Features; 2] {
    let now = Features::probe();
    [now, Features { proc_pidns: false, ..now }]
}

fn as_natively(part: &str) {
    as_natively_for(part, &[0, 1000]);
}

fn as_natively_for(part: &str, users: &[u32]) {
    let native = program(part, None, Features::probe(), 0);
    assert!(native.contains("fine") && native.contains(": rw,") | native.contains(": ro,"), "{native}");
    for features in kernels() {
        for uid in users {
            assert_eq!(program(part, Some(granted()), features, *uid), native, "uid {uid}, {features:?}");
        }
    }
}

#[test]
fn contexts_are_configured_as_natively() {
    as_natively("contexts");
}

#[test]
fn other_file_systems_are_mounted_as_natively() {
    as_natively_for("types", &[0]);
    let said = program("types", Some(granted()), Features::probe(), 1000);
    assert!(said.contains("\n41777 1000 1000\n"), "who makes a tmpfs owns it: {said}");
}

#[test]
fn control_groups_are_those_of_the_callers_namespace() {
    let shown = || {
        unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
        mount("none", "/mnt", "cgroup2", MsFlags::empty(), "").unwrap();
    };
    let native = program_after("groups", None, Features::probe(), 0, shown);
    assert!(native.contains("/ on /d: rw,nosuid,nodev,noexec,relatime - cgroup2 src rw"), "{native}");
    assert_eq!(program_after("groups", Some(granted()), Features::probe(), 0, shown), native);
    // In the agent's own, they are those of the whole machine.
    let refused = program("groups", Some(granted()), Features::probe(), 0);
    assert!(refused.starts_with("cgroup2: EPERM\n"), "{refused}");
}

#[test]
fn detached_mounts_are_changed_as_natively() {
    as_natively("attributes");
}

#[test]
fn mounts_are_attached_where_they_would_be_natively() {
    as_natively("places");
}

#[test]
fn attached_mounts_are_changed_and_moved_as_natively() {
    let native = program("remounts", None, Features::probe(), 0);
    assert!(native.contains("by mount: fine"), "{native}");
    for uid in [0, 1000] {
        // Whoever makes a tmpfs owns it.
        let said = program("remounts", Some(all()), Features::probe(), uid).replace(",uid=1000,gid=1000", "");
        assert_eq!(said, native, "uid {uid}");
    }
}

#[test]
fn trees_are_cloned_as_natively() {
    let native = program("binds", None, Features::probe(), 0);
    assert!(native.contains("a tree: fine"), "{native}");
    assert_eq!(program("binds", Some(all()), Features::probe(), 0), native);
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
        "an overlay: ENOSYS",
        "an option that is not listed: EINVAL",
        "pid namespace by descriptor: EINVAL",
        "pid namespace by path: EINVAL",
        "path: EINVAL",
        "binary: EINVAL",
        "clear: fine",
        "shared: EPERM",
        "clone: EPERM",
        "a directory of it: EINVAL",
        "beneath: EPERM",
        "another mount: EPERM",
        "its attributes: EPERM",
        "move: fine",
        "move again: fine",
        "attached: fine",
        "/ on /e: rw,nosuid,nodev,noexec,relatime - proc none rw",
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

#[test]
fn what_the_runtime_has_covered_stays_so() {
    let cover = || mount("none", "/proc/bus", "tmpfs", MsFlags::empty(), "").unwrap();
    for uid in [0, 1000] {
        let said = program_after("masks", Some(granted()), Features::probe(), uid, cover);
        assert_eq!(
            said,
            "bus: 0\nbus/pci: ENOENT\nmeminfo: fine\nmove: fine\nbus: 0\nuncover: EPERM\nbus: 0\n"
        );
    }
}

#[test]
fn who_has_no_procfs_gets_one_of_processes_only() {
    let hide = || mount("none", "/proc", "tmpfs", MsFlags::empty(), "").unwrap();
    let said = program_after("masks", Some(granted()), Features::probe(), 0, hide);
    assert_eq!(
        said,
        "bus: -1\nbus/pci: ENOENT\nmeminfo: ENOENT\nmove: fine\nbus: -1\nuncover: ENOENT\nbus: -1\n"
    );
}

#[test]
fn what_others_would_see_is_not_mounted() {
    let share = || {
        let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        mount_change("/", shared).unwrap();
    };
    let said = program_after("k5", Some(granted()), Features::probe(), 0, share);
    assert_eq!(said, "open: fine\ncreate: fine\nmount: fine\nro: fine\nmove: EPERM\n");
}
