//! A procfs mounted for processes that may not mount. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccomp_agent_handlers::Mount;
use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;

/// Runs a script in busybox's shell, as `uid`, in mount and pid namespaces of its own and without `CAP_SYS_ADMIN`;
/// returns what it printed.
fn script(registry: Option<Registry>, features: Features, uid: u32, script: String) -> String {
    let transform = || {
        support::unshare_namespaces();
        remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN).unwrap();
    };
    support::script(registry, features, uid, transform, script)
}

fn mounting() -> Registry {
    let mut registry = Registry::new();
    registry.on("mount", Mount::procfs()).unwrap();
    registry
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["proc", "closed"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("closed/in")).unwrap();
    fs::set_permissions(folder.path().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    folder
}

/// With the kernel's newer parts and without.
fn kernels() -> [Features; 2] {
    let now = Features::probe();
    [now, Features { proc_pidns: false, ..now }]
}

#[test]
fn the_new_procfs_is_that_of_the_callers_pid_namespace() {
    for features in kernels() {
        for uid in [0, 1000] {
            let folder = folder();
            let at = folder.path().join("proc");
            let at = at.to_str().unwrap();
            let said = script(
                Some(mounting()),
                features,
                uid,
                format!(
                    "busybox mount -t proc -o ro,gid=5 src {at} && busybox readlink {at}/self && \
                     busybox grep {at} /proc/mounts && echo $$ && busybox ls {at} | busybox grep -c '^[0-9]*$'"
                ),
            );
            let lines: Vec<_> = said.lines().collect();
            let [of_readlink, mounted, of_shell, count] = lines[..] else { panic!("{features:?}: {said}") };
            assert_eq!(of_shell, "1", "{said}");
            assert!(of_readlink.parse::<u32>().unwrap() < 10, "{said}");
            assert!(count.parse::<u32>().unwrap() < 5, "{said}");
            assert_eq!(mounted, format!("src {at} proc ro,nosuid,nodev,noexec,relatime,gid=5 0 0"));
            let ours = fs::read_to_string("/proc/self/mounts").unwrap();
            assert!(!ours.contains(at), "it is seen on the host");
        }
    }
}

#[test]
fn paths_mean_the_callers() {
    for features in kernels() {
        let folder = folder();
        let root = folder.path().to_str().unwrap().to_owned();
        std::os::unix::fs::symlink("proc", folder.path().join("link")).unwrap();
        for (target, seen) in
            [("proc/../link", "proc"), ("./proc/", "proc"), ("link", "proc"), ("closed/../proc", "proc")]
        {
            let said = script(
                Some(mounting()),
                features,
                0,
                format!(
                    "cd {root} && busybox mount -t proc proc {target} && busybox test -e {seen}/self && echo fine"
                ),
            );
            assert_eq!(said, "fine\n", "{target}");
        }
    }
}

#[test]
fn a_chrooted_caller_mounts_inside_its_root() {
    for features in kernels() {
        let folder = folder();
        let root = folder.path().to_str().unwrap().to_owned();
        fs::create_dir(folder.path().join("bin")).unwrap();
        support::copy_program("/bin/busybox", folder.path().join("bin/busybox"));
        let inner = "/bin/busybox mount -t proc proc /proc && /bin/busybox ls /proc/self/stat";
        let said = script(
            Some(mounting()),
            features,
            0,
            format!("busybox chroot {root} /bin/busybox sh -c '{inner}'; busybox ls {root}/proc/self/stat"),
        );
        assert_eq!(said, format!("/proc/self/stat\n{root}/proc/self/stat\n"));
    }
}

#[test]
fn what_cannot_be_mounted_fails_as_natively() {
    let folder = folder();
    let root = folder.path().to_str().unwrap().to_owned();
    for (target, uid, error) in [
        ("nothing", 0, "No such file or directory"),
        ("file", 0, "Not a directory"),
        ("closed/in", 1000, "Permission denied"),
    ] {
        let said = script(
            Some(mounting()),
            Features::probe(),
            uid,
            format!("busybox mount -t proc proc {root}/{target}"),
        );
        assert!(said.contains(error), "{target}: {said}");
    }
    let said = script(
        Some(mounting()),
        Features::probe(),
        0,
        format!("busybox mount -t proc -o pidns=/proc/1/ns/pid p {root}/proc"),
    );
    assert!(said.contains("Invalid argument"), "{said}");
}

#[test]
fn other_mounts_continue() {
    let folder = folder();
    let root = folder.path().to_str().unwrap().to_owned();
    // Longer than options may be that are read.
    let long = format!("-t tmpfs -o size={} t", "1".repeat(5000));
    for arguments in ["-t tmpfs t", &long, "-o bind /proc", "--move /proc"] {
        let said =
            script(Some(mounting()), Features::probe(), 0, format!("busybox mount {arguments} {root}/proc"));
        assert!(said.to_lowercase().contains("permi"), "{arguments}: {said}");
    }
    // And so does a procfs where nobody grants it.
    let said = script(None, Features::probe(), 0, format!("busybox mount -t proc proc {root}/proc"));
    assert!(said.to_lowercase().contains("permi"), "{said}");
}

#[test]
fn callers_that_are_killed_leave_nothing_on_the_host_and_nobody_waiting() {
    for features in kernels() {
        let folder = folder();
        let at = folder.path().join("proc").to_str().unwrap().to_owned();
        let said = script(
            Some(support::mounts::registry(&Mount::procfs())),
            features,
            0,
            format!(
                "for pause in 100 300 600 900 1500 2500 4000 6000 9000 15000; do \
                   busybox setsid busybox sh -c 'while :; do busybox mount -t proc p {at}; busybox umount {at}; done' 2>/dev/null & \
                   busybox usleep $pause; kill -9 -- -$! 2>/dev/null; kill -9 $! 2>/dev/null; wait 2>/dev/null; \
                 done; \
                 tries=250; \
                 while busybox usleep 20000; busybox grep -q {at} /proc/mounts && [ $tries -gt 0 ]; do \
                   busybox umount {at} 2>/dev/null; tries=$((tries - 1)); \
                 done; \
                 busybox mount -t proc p {at} && busybox grep -c {at} /proc/mounts"
            ),
        );
        // What was made for one that was killed is busy until the agent has let go of it.
        assert!(said.ends_with("1\n"), "{said}");
        assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&at), "it is seen on the host");
    }
}

#[test]
fn the_acting_thread_stays_in_its_own_namespaces() {
    let (before, root) = (own_namespaces(), fs::metadata("/").unwrap().ino());
    for features in kernels() {
        let folder = folder();
        let at = folder.path().join("proc").to_str().unwrap().to_owned();
        assert_eq!(script(Some(mounting()), features, 0, format!("busybox mount -t proc proc {at}")), "");
        assert_eq!(own_namespaces(), before);
        assert_eq!(fs::metadata("/").unwrap().ino(), root);
    }
}

fn own_namespaces() -> Vec<std::path::PathBuf> {
    let names = ["mnt", "pid", "pid_for_children", "user", "net"];
    names.iter().map(|name| fs::read_link(Path::new("/proc/thread-self/ns").join(name)).unwrap()).collect()
}
