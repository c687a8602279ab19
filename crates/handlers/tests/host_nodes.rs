//! The host's nodes, bound where new ones could not be opened. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, StatVfsMountFlags, Uid, fstat, fstatvfs, makedev, mknodat, openat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use seccomp_agent_handlers::{Devices, Nodes};
use seccomp_agent_notify::Features;
use seccomp_agent_registry::{Handler, Registry};
use support::audit::{audited, record};

/// Memory devices are granted; the host's null and zero are bound, and a path that is no such device is passed over.
fn registry() -> Registry {
    let memory = Devices {
        is_block: false,
        major: [1..=1].into_iter().collect(),
        minor: [3..=8].into_iter().collect(),
    };
    let paths = [c"/dev", c"/nothing", c"/dev/null", c"/dev/zero", c"/dev/tty"].map(CString::from).to_vec();
    let nodes: Arc<dyn Handler> = Arc::new(Nodes::granting(vec![memory]).binding(paths).unwrap());
    let mut registry = Registry::new();
    for name in ["mknod", "mknodat"] {
        // Newer architectures lack the older one.
        let _ = registry.on_shared(name, &nodes);
    }
    registry
}

/// Runs `body` for user 1000, without capabilities, in a file system of its own.
fn in_own_mount<T: Send + 'static>(flags: MountFlags, body: impl FnOnce() -> T + Send + 'static) -> T {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let user = support::tree::kinds().into_iter().find(|kind| kind.name == "user").unwrap();
    let here = folder.path().to_owned();
    support::run(
        Some(audited(registry())),
        move || {
            support::unshare_mounts();
            mount("none", &here, "tmpfs", flags, c"mode=0755").unwrap();
            fs::write(here.join("secret"), "of root").unwrap();
            fs::create_dir(here.join("w")).unwrap();
            fs::set_permissions(here.join("w"), PermissionsExt::from_mode(0o777)).unwrap();
            user.become_it(&here);
        },
        body,
    )
}

fn make(name: &str, minor: u32) -> Result<(), Errno> {
    mknodat(CWD, name, FileType::CharacterDevice, Mode::from_raw_mode(0o640), makedev(1, minor))
}

fn open(name: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, name, OFlags::RDWR, Mode::empty())
}

#[test]
fn on_a_nodev_mount_the_hosts_node_is_bound_and_can_be_opened() {
    let (made, opened, flags, device, again) = in_own_mount(MountFlags::NODEV, || {
        let made = make("null", 3);
        let opened = open("null").unwrap();
        rustix::io::write(&opened, b"x").unwrap();
        let flags = fstatvfs(&opened).unwrap().f_flag;
        (made, fstat(&opened).unwrap().st_mode, flags, fstat(&opened).unwrap().st_rdev, make("null", 3))
    });
    assert_eq!((made, again), (Ok(()), Err(Errno::EXIST)));
    assert_eq!((FileType::from_raw_mode(opened), device), (FileType::CharacterDevice, makedev(1, 3)));
    assert!(flags.contains(StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC), "{flags:?}");
    assert!(!flags.contains(StatVfsMountFlags::NODEV), "{flags:?}");
}

#[test]
fn the_hosts_node_stays_as_it_is_on_the_host() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let root = support::tree::kinds().into_iter().find(|kind| kind.name == "root").unwrap();
    let here = folder.path().to_owned();
    let before = fs::metadata("/dev/null").unwrap();
    let said = support::run(
        Some(registry()),
        move || {
            support::unshare_mounts();
            mount("none", &here, "tmpfs", MountFlags::NODEV, None).unwrap();
            fs::create_dir(here.join("w")).unwrap();
            root.become_it(&here);
        },
        || {
            make("null", 3).unwrap();
            let mode = rustix::fs::chmod("null", Mode::RUSR);
            let owner = rustix::fs::chown("null", Some(Uid::from_raw(1000)), None);
            let time = fs::File::open("null").unwrap().set_modified(std::time::UNIX_EPOCH);
            (mode, owner, time.is_err(), rustix::io::write(open("null").unwrap(), b"x"))
        },
    );
    assert_eq!(said, (Err(Errno::ROFS), Err(Errno::ROFS), true, Ok(1)));
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.mode(), before.uid(), before.mtime()), (after.mode(), after.uid(), after.mtime()));
}

#[test]
fn elsewhere_a_node_is_made() {
    let (made, node, folder) = in_own_mount(MountFlags::empty(), || {
        let made = make("null", 3);
        (made, fs::metadata("null").unwrap(), fs::metadata(".").unwrap())
    });
    assert_eq!(made, Ok(()));
    assert_eq!((node.dev(), node.uid(), node.mode() & 0o777), (folder.dev(), 1000, 0o640));
}

#[test]
fn what_is_not_listed_is_not_bound_and_what_the_host_lacks_is_made() {
    let (unlisted, tty, full) = in_own_mount(MountFlags::NODEV, || {
        let tty =
            mknodat(CWD, "tty", FileType::CharacterDevice, Mode::RUSR, makedev(5, 0)).map(|()| open("tty"));
        let block = mknodat(CWD, "block", FileType::BlockDevice, Mode::RUSR, makedev(1, 3));
        (block, tty.map(|_| ()), (make("full", 7), open("full").map(|_| ())))
    });
    assert_eq!((unlisted, tty), (Err(Errno::PERM), Err(Errno::PERM)));
    // Made, as before; only that it cannot be opened.
    assert_eq!(full, (Ok(()), Err(Errno::ACCESS)));
}

#[test]
fn a_container_binds_so_many_nodes_and_no_more_and_a_refused_one_leaves_no_file() {
    let (said, left) = in_own_mount(MountFlags::NODEV, || {
        let said: Vec<_> = (0..66).map(|number| make(&format!("n{number}"), 3)).collect();
        (said, fs::read_dir(".").unwrap().count())
    });
    assert_eq!(said.iter().filter(|outcome| outcome.is_ok()).count(), 64);
    assert_eq!((said[64], said[65], left), (Err(Errno::NOSPC), Err(Errno::NOSPC), 64));
}

#[test]
fn the_directory_is_the_callers_to_write_to() {
    let said = in_own_mount(MountFlags::NODEV, || [make("../n", 3), make("nothing/n", 3), make("", 3)]);
    assert_eq!(said, [Err(Errno::ACCESS), Err(Errno::NOENT), Err(Errno::NOENT)]);
}

#[test]
fn nothing_but_the_new_file_is_covered_whatever_takes_its_place() {
    let body = || {
        // The root of the file system, and so this link's target, is not the caller's to write to.
        let (done, name) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (is_done, current) = (Arc::clone(&done), Arc::clone(&name));
        let racer = std::thread::spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                let _ = std::os::unix::fs::symlink("../secret", "link");
                let _ = fs::rename("link", format!("n{}", current.load(Ordering::Relaxed)));
            }
        });
        let mut bound = 0;
        for number in 0..2000 {
            name.store(number, Ordering::Relaxed);
            bound += u32::from(make(&format!("n{number}"), 3).is_ok());
        }
        done.store(true, Ordering::Relaxed);
        racer.join().unwrap();
        (bound, fs::read_to_string("../secret"))
    };
    let ((bound, secret), records) = record(|| in_own_mount(MountFlags::NODEV, body));
    records.assert_refused(&[
        ("handler", "nodes"),
        ("asked", "type=c mode=0640 device=1:3"),
        ("why", "listed"),
    ]);
    assert!(bound <= 64, "{bound}");
    assert_eq!(secret.unwrap(), "of root");
}

#[test]
fn in_a_user_namespace_the_hosts_node_is_bound() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    // User 1000 becomes root of a user namespace, and mounts there what nobody could open a device of its own on.
    let inside = "mount -t tmpfs none real; busybox mknod real/null c 1 3; busybox mknod mine/null c 1 3; \
                  echo x > real/null; echo x > mine/null; stat -c %t:%T:%s real/null mine/null; \
                  busybox mknod private/null c 1 3; busybox mknod real/tty c 5 0";
    let script = format!(
        "cd {}/w; unshare --user --map-root-user --mount /bin/busybox sh -c '{inside}'",
        root.path().display()
    );
    let said = support::script(Some(registry()), Features::probe(), 1000, support::unshare_mounts, script);
    assert!(said.starts_with("1:3:0\n1:3:0\n"), "{said}");
    assert_eq!(said.matches("mknod:").count(), 2, "{said}");
    // Outside there is no more than the empty file that the node is mounted on.
    let outside = |path: &str| fs::metadata(Path::new(root.path()).join("w").join(path));
    let file = outside("mine/null").unwrap();
    assert_eq!((file.is_file(), file.len(), file.uid()), (true, 0, 1000));
    assert!(outside("real/null").is_err() && outside("private/null").is_err());
}
