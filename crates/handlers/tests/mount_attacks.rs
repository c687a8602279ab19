//! What a container must not get by mounting. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, makedev, mknodat, openat, renameat_with};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::CapabilitySet;
use seccomp_agent_handlers::{FileSystem, Mount};
use seccomp_agent_registry::Registry;
use support::mounts::{mount, umount};
use support::tree::{Kind, kind};

const NONE: MsFlags = MsFlags::empty();
const BIND: MsFlags = MsFlags::MS_BIND;
const REMOUNT: MsFlags = MsFlags::MS_REMOUNT;
const DETACH: i32 = 2;

fn registry() -> Registry {
    support::mounts::registry(&Mount::granting(FileSystem::ALL).with_binds().with_propagation())
}

/// Runs `body` for root without `CAP_SYS_ADMIN` in a container: its root directory is a tmpfs with a procfs and a
/// sysfs in it, parts of which are covered.
fn contained<T: Send + 'static>(
    prepare: impl FnOnce(&Path) + Send + 'static,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    // The agent is in a mount namespace where nobody else mounts anything meanwhile.
    let agent = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        support::unshare_mounts();
        contained_here(prepare, body)
    });
    agent.join().unwrap()
}

fn contained_here<T: Send + 'static>(
    prepare: impl FnOnce(&Path) + Send + 'static,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let here = root.path().to_owned();
    let table = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let before = table();
    let outcome = support::run(
        Some(registry()),
        move || {
            support::unshare_mounts();
            build(&here);
            prepare(&here);
            nix::unistd::chdir(&here).unwrap();
            nix::unistd::pivot_root(".", ".").unwrap();
            umount(".", DETACH).unwrap();
            let root = kind("root");
            Kind { capabilities: root.capabilities - CapabilitySet::SYS_ADMIN, ..root }
                .become_it(Path::new("/"));
        },
        body,
    );
    assert_eq!(table(), before, "the host's mounts have changed");
    outcome
}

fn build(root: &Path) {
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    mount("root", &at(""), "tmpfs", NONE, "mode=755").unwrap();
    for name in ["w", "w/a", "w/b", "w/c", "proc", "sys", "masked", "volume", "volume/in", "readonly"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::set_permissions(root.join(name), PermissionsExt::from_mode(0o777)).unwrap();
    }
    fs::write(root.join("null"), "").unwrap();
    mount("proc", &at("proc"), "proc", NONE, "").unwrap();
    mount("none", &at("proc/bus"), "tmpfs", MsFlags::MS_RDONLY, "").unwrap();
    mount(&at("null"), &at("proc/interrupts"), "", BIND, "").unwrap();
    mount(&at("proc/sys"), &at("proc/sys"), "", BIND, "").unwrap();
    mount("", &at("proc/sys"), "", BIND | REMOUNT | MsFlags::MS_RDONLY, "").unwrap();
    mount("sysfs", &at("sys"), "sysfs", MsFlags::MS_RDONLY, "").unwrap();
    mount("none", &at("sys/kernel"), "tmpfs", MsFlags::MS_RDONLY, "").unwrap();
    fs::write(root.join("volume/in/hidden"), "").unwrap();
    mount("none", &at("volume/in"), "tmpfs", NONE, "").unwrap();
    mount(&at("readonly"), &at("readonly"), "", BIND, "").unwrap();
    mount("", &at("readonly"), "", BIND | REMOUNT | MsFlags::MS_RDONLY, "").unwrap();
}

/// What of a procfs is to be covered and is not.
fn uncovered(procfs: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    if entries(&format!("{procfs}/bus")) > 2 {
        found.push("bus");
    }
    if fs::read(format!("{procfs}/interrupts")).is_ok_and(|content| !content.is_empty()) {
        found.push("interrupts");
    }
    if fs::File::options().write(true).open(format!("{procfs}/sys/kernel/hostname")).is_ok() {
        found.push("sys");
    }
    found
}

fn entries(path: &str) -> usize {
    // And the two of each directory itself.
    fs::read_dir(path).map_or(0, |entries| entries.count() + 2)
}

fn held(path: &str) -> OwnedFd {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Whether entries can be seen that are covered, from the root of a procfs that is held.
fn shows_through(procfs: &OwnedFd) -> bool {
    let bus = openat(procfs, "bus", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    rustix::fs::Dir::new(bus).unwrap().count() > 2
}

#[test]
fn a_second_procfs_shows_no_more_than_the_first() {
    contained(
        |_| (),
        || {
            assert_eq!(uncovered("/proc"), [""; 0]);
            for target in ["a", "b", "/proc", "/proc", "/w/c"] {
                mount("proc", target, "proc", NONE, "").unwrap();
                assert!(fs::metadata(format!("{target}/version")).is_ok());
                assert_eq!(uncovered(target), [""; 0], "{target}");
            }
            // What covers is not to be had off, by anybody's name.
            for entry in ["a/bus", "a/interrupts", "a/sys", "/proc/bus", "b/sys"] {
                for flags in [0, DETACH] {
                    umount(entry, flags).unwrap_err();
                }
                mount("", entry, "", REMOUNT | BIND, "").unwrap_err();
                mount("", entry, "", MsFlags::MS_UNBINDABLE, "").unwrap_err();
            }
            assert_eq!(uncovered("a"), [""; 0]);
        },
    );
}

#[test]
fn unmounting_a_procfs_uncovers_nothing_to_whoever_holds_it() {
    contained(
        |_| (),
        || {
            for flags in [0, DETACH] {
                mount("proc", "a", "proc", NONE, "").unwrap();
                let procfs = held("a");
                umount("a", flags).unwrap();
                assert!(!shows_through(&procfs));
                assert_eq!(entries("a"), 2);
            }
        },
    );
}

#[test]
fn the_containers_first_mounts_stay() {
    contained(
        |_| (),
        || {
            for target in [
                "/proc",
                "/proc/bus",
                "/proc/interrupts",
                "/proc/sys",
                "/sys",
                "/sys/kernel",
                "/volume/in",
                "/",
            ] {
                for flags in [0, DETACH, 4, 1] {
                    assert!(umount(target, flags).is_err(), "{target}");
                }
                for flags in
                    [REMOUNT | BIND, REMOUNT, MsFlags::MS_PRIVATE, MsFlags::MS_SHARED, MsFlags::MS_SLAVE]
                {
                    assert_eq!(mount("", target, "", flags, ""), Err(Errno::PERM), "{target} {flags:?}");
                }
                assert_eq!(mount(target, "a", "", MsFlags::MS_MOVE, ""), Err(Errno::PERM), "{target}");
            }
            // Also not where one of the container's own has been on top.
            mount("x", "/proc", "tmpfs", NONE, "").unwrap();
            umount("/proc", 0).unwrap();
            umount("/proc", DETACH).unwrap_err();
            assert_eq!(uncovered("/proc"), [""; 0]);
        },
    );
}

#[test]
fn racing_unmounts_take_no_more_than_there_was_to_take() {
    contained(
        |_| (),
        || {
            for _ in 0..50 {
                mount("x", "/volume/in", "tmpfs", NONE, "").unwrap();
                let both: Vec<_> =
                    (0..2).map(|_| std::thread::spawn(|| umount("/volume/in", DETACH))).collect();
                let done: Vec<_> = both.into_iter().map(|one| one.join().unwrap()).collect();
                assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
                assert!(!Path::new("/volume/in/hidden").exists());
            }
        },
    );
}

#[test]
fn binds_and_overlays_uncover_nothing() {
    contained(
        |_| (),
        || {
            for source in ["/proc", "/sys", "/volume", "/"] {
                assert_eq!(mount(source, "a", "", BIND, ""), Err(Errno::INVAL), "{source}");
                let layer = format!("lowerdir={source}:/w");
                let refused = mount("o", "a", "overlay", NONE, &layer);
                assert!(matches!(refused, Err(Errno::INVAL | Errno::PERM)), "{source}: {refused:?}");
            }
            mount("/", "a", "", BIND | MsFlags::MS_REC, "").unwrap();
            assert_eq!(uncovered("a/proc"), [""; 0]);
            assert!(!Path::new("a/volume/in/hidden").exists());
            let procfs = held("a/proc");
            umount("a/proc/bus", DETACH).unwrap_err();
            umount("a/proc", DETACH).unwrap_err();
            umount("a", DETACH).unwrap();
            assert!(!shows_through(&procfs));
            // Parts of procfs, and of the caller's own in it.
            for source in ["/proc/self", "/proc/self/ns/mnt", "/proc/1/root", "/proc/sys/kernel"] {
                mount(source, "b", "", BIND | MsFlags::MS_REC, "").unwrap_err();
            }
        },
    );
}

#[test]
fn what_is_read_only_stays_so() {
    contained(
        |_| (),
        || {
            let rw = [REMOUNT | BIND, REMOUNT];
            mount("/readonly", "a", "", BIND, "").unwrap();
            mount("sysfs", "b", "sysfs", NONE, "").unwrap();
            mount("/proc", "c", "", BIND | MsFlags::MS_REC, "").unwrap();
            for target in ["a", "b", "c/sys"] {
                for flags in rw {
                    assert_eq!(mount("", target, "", flags, ""), Err(Errno::PERM), "{target}");
                }
            }
            let refused = fs::write("a/file", "").unwrap_err();
            assert_eq!(Errno::from_io_error(&refused), Some(Errno::ROFS));
            assert_eq!(entries("b/kernel"), 2, "it is covered");
            assert_eq!(
                mount("o", "/w", "overlay", NONE, "lowerdir=/w/a,upperdir=/readonly,workdir=/readonly"),
                Err(Errno::INVAL)
            );
        },
    );
}

#[test]
fn devices_and_set_user_id_programs_of_a_mount_do_not_count() {
    contained(
        |_| (),
        || {
            for kind in ["tmpfs", "overlay"] {
                let options =
                    if kind == "overlay" { "lowerdir=/w/b,upperdir=/w/c/u,workdir=/w/c/w" } else { "" };
                if kind == "overlay" {
                    mount("x", "/w/c", "tmpfs", NONE, "").unwrap();
                    fs::create_dir("/w/c/u").unwrap();
                    fs::create_dir("/w/c/w").unwrap();
                }
                mount("x", "a", kind, NONE, options).unwrap();
                for flags in [None, Some(REMOUNT | BIND), Some(REMOUNT)] {
                    if let Some(flags) = flags {
                        // An overlay may not care to be changed.
                        let _ = mount("", "a", "", flags, "");
                    }
                    let found = rustix::fs::statvfs("a").unwrap().f_flag;
                    let forced = rustix::fs::StatVfsMountFlags::NODEV | rustix::fs::StatVfsMountFlags::NOSUID;
                    assert!(found.contains(forced), "{kind} {flags:?}");
                }
                mknodat(CWD, "a/null", FileType::CharacterDevice, Mode::RWXU, makedev(1, 3)).unwrap();
                assert_eq!(
                    fs::read("a/null").unwrap_err().raw_os_error(),
                    Some(Errno::ACCESS.raw_os_error())
                );
                umount("a", 0).unwrap();
            }
        },
    );
}

#[test]
fn nothing_is_mounted_outside_of_the_callers_root() {
    contained(
        |root| {
            symlink("/..", root.join("w/up")).unwrap();
            symlink("/proc/1/root", root.join("w/host")).unwrap();
            symlink("/proc/self/root/../../..", root.join("w/own")).unwrap();
        },
        || {
            let agent = format!("/proc/{}/root/tmp", std::process::id());
            let thread = format!("/proc/{}/task/{}/cwd", std::process::id(), rustix::thread::gettid());
            for target in ["host", "host/tmp", "/proc/1/cwd", "/proc/1/fd/0", agent.as_str()] {
                assert!(mount("x", target, "tmpfs", NONE, "").is_err(), "{target}");
                assert!(mount(target, "a", "", BIND, "").is_err(), "{target}");
                assert!(
                    mount("o", "a", "overlay", NONE, &format!("lowerdir={target}:/w")).is_err(),
                    "{target}"
                );
            }
            // The caller's own root, to which there is no way up.
            for target in ["up", "../../../../..", "/"] {
                assert_eq!(mount("x", target, "tmpfs", NONE, ""), Err(Errno::PERM), "{target}");
            }
            // That of the caller's process, which is the agent's here.
            for target in ["own", "/proc/self/root", "/proc/self/cwd"] {
                assert_eq!(mount("x", target, "tmpfs", NONE, ""), Err(Errno::INVAL), "{target}");
                assert!(mount(target, "a", "", BIND | MsFlags::MS_REC, "").is_err(), "{target}");
            }
            let _ = mount("x", &thread, "tmpfs", NONE, "");
        },
    );
}

#[test]
fn components_that_are_swapped_lead_nowhere_else() {
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    let up = format!("/../../../../..{}", outside.path().display());
    let end_of_race = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end_of_race);
    contained(
        move |root| {
            fs::create_dir(root.join("w/real")).unwrap();
            fs::create_dir(root.join("w/real/in")).unwrap();
            fs::create_dir(root.join("w/other")).unwrap();
            symlink(up, root.join("w/link")).unwrap();
            // Shares the container's root, which it will have.
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let _ = renameat_with(CWD, "/w/real", CWD, "/w/link", RenameFlags::EXCHANGE);
                }
            });
        },
        move || {
            let end = std::time::Instant::now() + support::race::race_duration();
            let mut done = 0;
            // Until it has run for long enough, and has hit the folder once.
            while std::time::Instant::now() < end || done == 0 {
                if mount("x", "real/in", "tmpfs", NONE, "").is_ok() {
                    done += 1;
                }
                let _ = mount("real", "b", "", BIND, "");
                for target in ["real/in", "link/in", "b"] {
                    let _ = umount(target, DETACH);
                }
            }
            end_of_race.store(true, Ordering::Relaxed);
        },
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn an_overlay_may_no_more_than_the_mounts_of_its_layers() {
    contained(
        |root| {
            let noexec = root.join("w/c").to_str().unwrap().to_owned();
            mount("x", &noexec, "tmpfs", MsFlags::MS_NOEXEC, "").unwrap();
        },
        || {
            mount("x", "a", "overlay", NONE, "lowerdir=b:c").unwrap();
            let flags = rustix::fs::statvfs("a").unwrap().f_flag;
            assert!(flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
        },
    );
}

#[test]
fn nothing_propagates_to_the_host() {
    contained(
        |root| {
            let shared = root.join("volume").to_str().unwrap().to_owned();
            mount(&shared, &shared, "", BIND, "").unwrap();
            mount("", &shared, "", MsFlags::MS_SHARED, "").unwrap();
        },
        || {
            fs::create_dir("/volume/x").unwrap();
            assert_eq!(mount("x", "/volume/x", "tmpfs", NONE, ""), Err(Errno::PERM));
            assert_eq!(mount("a", "/volume/x", "", BIND, ""), Err(Errno::PERM));
            assert_eq!(mount("", "/volume", "", MsFlags::MS_SHARED, ""), Err(Errno::PERM));
            // A bind of it is no peer.
            mount("/volume", "b", "", BIND, "").unwrap();
            mount("x", "b/x", "tmpfs", NONE, "").unwrap();
            fs::write("b/x/file", "").unwrap();
            assert!(!Path::new("/volume/x/file").exists());
        },
    );
}

#[test]
fn a_caller_in_the_agents_own_mount_namespace_mounts_nothing() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let at = folder.path().to_str().unwrap().to_owned();
    let clone = || {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, "/usr", flags).map(drop)
    };
    let body = move || (mount("x", &at, "tmpfs", NONE, ""), mount("/usr", &at, "", BIND, ""), clone());
    let transform = || {
        let root = kind("root");
        Kind { capabilities: root.capabilities - CapabilitySet::SYS_ADMIN, ..root }.take_credentials();
    };
    let mut registry = registry();
    registry.on("open_tree", Mount::granting(FileSystem::ALL).with_binds()).unwrap();
    let registry = support::audit::audited(registry);
    let (said, records) = support::audit::record(|| support::run(Some(registry), transform, body));
    assert_eq!(said, (Err(Errno::PERM), Err(Errno::PERM), Err(Errno::PERM)));
    let why = ("why", "the caller is in the agent's own mount namespace");
    assert_eq!((records.count(&[why]), records.count(&[why, ("syscall", "open_tree")])), (3, 1));
}

#[test]
fn mounts_of_a_container_are_bounded() {
    contained(
        |_| (),
        || {
            let mut made = 0;
            let refused = loop {
                match mount("x", "a", "tmpfs", NONE, "") {
                    Ok(()) => made += 1,
                    Err(errno) => break errno,
                }
            };
            assert_eq!((made, refused), (512, Errno::NOSPC));
            umount("a", 0).unwrap();
            mount("x", "a", "tmpfs", NONE, "").unwrap();
        },
    );
}

#[test]
fn trees_are_bound_only_where_mounts_are_few() {
    contained(
        |_| (),
        || {
            let lines = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
            let refused = (0..64).find_map(|_| mount("/", "a", "", BIND | MsFlags::MS_REC, "").err());
            assert_eq!(refused, Some(Errno::NOSPC));
            assert!((1024..=2 * 1024 + 64).contains(&lines()), "{} mounts", lines());
            mount("x", "b", "tmpfs", NONE, "").unwrap();
        },
    );
}

#[test]
fn a_container_without_a_procfs_gets_processes_only_and_no_sysfs() {
    contained(
        |root| {
            let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
            for name in ["proc", "sys"] {
                umount(&at(name), DETACH).unwrap();
            }
        },
        || {
            mount("proc", "a", "proc", NONE, "").unwrap();
            let is_process = |name: &str| {
                name.starts_with(|first: char| first.is_ascii_digit() || first == 's' || first == 't')
            };
            let all: Vec<_> = fs::read_dir("a").unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(all.iter().all(|name| is_process(name.to_str().unwrap())), "{all:?}");
            assert!(!Path::new("a/sys").exists() && Path::new("a/self").exists());
            for options in ["subset=", "subset=pid", "hidepid=0"] {
                let _ = mount("", "a", "", REMOUNT, options);
                assert!(!Path::new("a/sys").exists(), "{options}");
            }
            for kind in ["sysfs", "cgroup2"] {
                assert_eq!(mount("x", "b", kind, NONE, ""), Err(Errno::PERM), "{kind}");
            }
        },
    );
}
