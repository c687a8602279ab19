//! Mounts of what is on a block device, by a caller that may mount and for one that may not. Needs root, e2fsprogs and
//! loop devices.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::MsFlags;
use rustix::fs::{CWD, RenameFlags, StatVfsMountFlags, renameat_with};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use seccomp_agent_handlers::{FileSystem, FileSystemGrant, Mount};
use seccomp_agent_registry::Registry;
use support::audit::{Records, audited, record};
use support::block_device::BlockDevice;
use support::mounts::{Said, mount, table, umount};
use support::tree::{Kind, kind};

const NONE: MsFlags = MsFlags::empty();
const RDONLY: MsFlags = MsFlags::MS_RDONLY;
const REMOUNT: MsFlags = MsFlags::MS_REMOUNT;
const BIND: MsFlags = MsFlags::MS_BIND;

/// Grants these file systems on this device.
fn granting(device: &BlockDevice) -> Registry {
    let kinds = [FileSystem::Ext4, FileSystem::Squashfs];
    let grants = kinds.map(|kind| FileSystemGrant { devices: device.listed(), ..kind.into() });
    audited(support::mounts::registry(&Mount::granting(grants)))
}

/// A folder `w` with directories to mount onto and nodes to mount from.
fn build(root: &Path, device: &BlockDevice) {
    let w = root.join("w");
    for name in ["", "a", "b", "deep"] {
        fs::create_dir_all(w.join(name)).unwrap();
        fs::set_permissions(w.join(name), PermissionsExt::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(root, PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(w.join("file"), "").unwrap();
    device.node(&w.join("node"), 0, 0o666);
    device.node(&w.join("readable"), 0, 0o444);
    device.node(&w.join("private"), 0, 0o600);
    symlink("deep/../node", w.join("link")).unwrap();
    symlink("nothing", w.join("dangling")).unwrap();
}

thread_local! {
    static TABLE: RefCell<Option<fs::File>> = const { RefCell::new(None) };
}

/// What `calls` say and leave behind for such a caller.
fn outcome(
    device: &BlockDevice,
    registry: Option<Registry>,
    who: Kind,
    calls: fn(&mut Said),
) -> (Said, Vec<String>) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path(), device);
    let (here, there) = (root.path().to_owned(), root.path().to_owned());
    support::run(
        registry,
        move || {
            support::unshare_mounts();
            TABLE.set(fs::File::open("/proc/thread-self/mountinfo").ok());
            who.become_it(&here);
        },
        move || {
            let mut said = Said::new();
            calls(&mut said);
            let mut mounts = String::new();
            TABLE.take().unwrap().read_to_string(&mut mounts).unwrap();
            (said, table(&mounts, &there))
        },
    )
}

fn compare(calls: fn(&mut Said)) {
    let device = BlockDevice::new("this");
    for name in ["root", "user", "root bound by permissions", "user, chrooted"] {
        let (base, admin) = (kind(name), CapabilitySet::SYS_ADMIN);
        let with = |capabilities| Kind { capabilities, ..base.clone() };
        let native = outcome(&device, None, with(base.capabilities | admin), calls);
        let emulated = outcome(&device, Some(granting(&device)), with(base.capabilities - admin), calls);
        assert_eq!(native, emulated, "{name}");
        assert!(native.0.iter().any(|(_, said)| said.is_ok()), "{name}: nothing succeeds");
    }
}

fn read(path: &str) -> Result<(), Errno> {
    match fs::read_to_string(path) {
        Ok(text) => {
            assert_eq!(text, "this\n");
            Ok(())
        }
        Err(error) => Err(Errno::from_io_error(&error).unwrap()),
    }
}

fn write(path: &str) -> Result<(), Errno> {
    fs::write(path, "x").map_err(|error| Errno::from_io_error(&error).unwrap())
}

/// What is forced, and shown by the mount table.
const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const SAFE_ERRORS: &str = "errors=remount-ro";

#[test]
fn sources_mean_what_they_mean_to_the_caller_and_are_shown_so() {
    compare(|said| {
        for source in
            ["node", "./deep/../node", "link", "readable/", "nothing", "dangling", "file", "deep", ""]
        {
            said.push((source.into(), mount(source, "a", "ext4", SAFE, SAFE_ERRORS)));
            said.push((format!("{source}: name"), read("a/name")));
        }
        said.push(("busy".into(), mount("node", "a", "ext4", SAFE, SAFE_ERRORS)));
        said.push(("no target".into(), mount("nothing", "none", "ext4", SAFE, "")));
        said.push(("onto a file".into(), mount("node", "file", "ext4", SAFE, SAFE_ERRORS)));
        said.push(("another kind".into(), mount("node", "b", "squashfs", RDONLY | SAFE, "")));
    });
}

#[test]
fn options_remounts_and_unmounts_are_as_natively() {
    compare(|said| {
        for (flags, options) in [
            (RDONLY, ""),
            (MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME, "data=journal,commit=7"),
            (MsFlags::MS_SYNCHRONOUS, "noacl,discard"),
            (NONE, "commit=x"),
            (NONE, "nonsense"),
        ] {
            let options = format!("{SAFE_ERRORS},{options}");
            said.push((options.clone(), mount("node", "a", "ext4", flags | SAFE, &options)));
            said.push(("written".into(), write("a/new")));
            said.push(("remount".into(), mount("", "a", "", REMOUNT | RDONLY | SAFE, "commit=9")));
            said.push(("read-only".into(), write("a/new")));
            said.push(("remount".into(), mount("", "a", "", REMOUNT | SAFE, "")));
            said.push(("read-write".into(), write("a/new")));
            said.push(("umount".into(), umount("a", 0)));
        }
        said.push(("left".into(), mount("link", "b", "ext4", SAFE, SAFE_ERRORS)));
    });
}

/// What a caller without `CAP_SYS_ADMIN` is answered, and what is written down. The host's mounts stay as they are.
fn refused(device: &BlockDevice, name: &str, calls: fn(&mut Said)) -> (Said, Records) {
    let base = kind(name);
    let who = Kind { capabilities: base.capabilities - CapabilitySet::SYS_ADMIN, ..base };
    let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let ((said, _), records) = record(|| outcome(device, Some(granting(device)), who, calls));
    let ours = |table: &str| table.lines().filter(|line| line.contains("/w/")).count();
    let after = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert_eq!((ours(&before), ours(&after)), (0, 0), "the host's mounts have changed");
    (said, records)
}

#[test]
fn a_device_that_is_not_listed_is_refused() {
    let (listed, other) = (BlockDevice::new("listed"), BlockDevice::new("other"));
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path(), &other);
    let here = root.path().to_owned();
    let who = Kind { capabilities: kind("root").capabilities - CapabilitySet::SYS_ADMIN, ..kind("root") };
    let registry = granting(&listed);
    let (said, records) = record(|| {
        support::run(
            Some(registry),
            move || {
                support::unshare_mounts();
                who.become_it(&here);
            },
            || mount("node", "a", "ext4", NONE, ""),
        )
    });
    assert_eq!(said, Err(Errno::PERM));
    records.assert_refused(&[("why", "the device is not listed"), ("errno", "EPERM")]);
}

#[test]
fn a_device_that_the_caller_may_not_use_is_refused() {
    let device = BlockDevice::new("this");
    let (said, records) = refused(&device, "user", |said| {
        said.push(("private".into(), mount("private", "a", "ext4", RDONLY, "")));
        said.push(("to write".into(), mount("readable", "a", "ext4", NONE, "")));
        said.push(("to read".into(), mount("readable", "a", "ext4", RDONLY, "")));
        said.push(("to write again".into(), mount("", "a", "", REMOUNT, "")));
        said.push(("the mount to write".into(), mount("", "a", "", REMOUNT | BIND, "")));
    });
    let said: Vec<_> = said.into_iter().map(|(_, said)| said).collect();
    let (access, perm) = (Err(Errno::ACCESS), Err(Errno::PERM));
    assert_eq!(said, [access, access, Ok(()), perm, perm]);
    let why = "the caller may not use the device so itself";
    assert_eq!(records.count(&[("decision", "refused"), ("why", why), ("errno", "EACCES")]), 2);
    assert_eq!(records.count(&[("decision", "refused"), ("why", "it has to stay read-only")]), 2);
}

#[test]
fn options_that_name_devices_or_stop_the_machine_are_refused() {
    let device = BlockDevice::new("this");
    let (said, records) = refused(&device, "root", |said| {
        for options in ["errors=panic", "journal_dev=0x701", "journal_path=/dev/loop1", "abort"] {
            said.push((options.into(), mount("node", "a", "ext4", NONE, options)));
        }
        mount("node", "a", "ext4", NONE, "").unwrap();
        let options = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        // The file system itself asks for `panic`.
        assert!(
            options.lines().any(|line| line.contains("/w/a ") && line.contains(SAFE_ERRORS)),
            "{options}"
        );
        said.push(("remount".into(), mount("", "a", "", REMOUNT, "errors=panic")));
    });
    let said: Vec<_> = said.into_iter().map(|(_, said)| said).collect();
    let (perm, invalid) = (Err(Errno::PERM), Err(Errno::INVAL));
    assert_eq!(said, [perm, invalid, invalid, invalid, perm]);
    let why = "an option that is not listed, or may not have this value";
    assert_eq!(records.count(&[("decision", "refused"), ("why", why), ("errno", "EINVAL")]), 3);
    assert_eq!(records.count(&[("decision", "refused"), ("errno", "EPERM")]), 2);
}

#[test]
fn devices_and_set_user_id_programs_in_it_do_not_count() {
    let device = BlockDevice::new("this");
    refused(&device, "root", |_| {
        let forced = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID;
        mount("node", "a", "ext4", NONE, "").unwrap();
        for flags in [None, Some(REMOUNT), Some(REMOUNT | BIND)] {
            let _ = flags.map(|flags| mount("", "a", "", flags, ""));
            assert!(rustix::fs::statvfs("a").unwrap().f_flag.contains(forced), "{flags:?}");
            assert_eq!(read("a/null"), Err(Errno::ACCESS));
        }
    });
}

#[test]
fn a_node_that_cannot_be_opened_where_it_lies_is_refused() {
    let device = BlockDevice::new("this");
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path(), &device);
    let (here, registry) = (root.path().to_owned(), granting(&device));
    let who = Kind { capabilities: kind("root").capabilities - CapabilitySet::SYS_ADMIN, ..kind("root") };
    let (said, records) = record(|| {
        support::run(
            Some(registry),
            move || {
                support::unshare_mounts();
                let w = here.join("w").to_str().unwrap().to_owned();
                mount(&w, &w, "", BIND, "").unwrap();
                mount("", &w, "", BIND | REMOUNT | MsFlags::MS_NODEV, "").unwrap();
                who.become_it(&here);
            },
            || mount("node", "a", "ext4", NONE, ""),
        )
    });
    assert_eq!(said, Err(Errno::ACCESS));
    records.assert_refused(&[("errno", "EACCES")]);
}

#[test]
fn a_source_that_is_swapped_is_the_listed_device_or_none() {
    let (listed, other) = (BlockDevice::new("this"), BlockDevice::new("other"));
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path(), &listed);
    let w: PathBuf = root.path().join("w");
    other.node(&w.join("other"), 0, 0o666);
    symlink("node", w.join("one")).unwrap();
    symlink("other", w.join("two")).unwrap();
    let (here, there) = (root.path().to_owned(), w.clone());
    let who = Kind { capabilities: kind("root").capabilities - CapabilitySet::SYS_ADMIN, ..kind("root") };
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let swaps = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            renameat_with(CWD, there.join("one"), CWD, there.join("two"), RenameFlags::EXCHANGE).unwrap();
        }
    });
    support::run(
        Some(granting(&listed)),
        move || {
            support::unshare_mounts();
            who.become_it(&here);
        },
        || {
            let until = std::time::Instant::now() + support::race::race_duration();
            let (mut done, mut refused) = (0, 0);
            while std::time::Instant::now() < until || done == 0 || refused == 0 {
                match mount("one", "a", "ext4", NONE, "") {
                    Ok(()) => {
                        done += 1;
                        assert_eq!(read("a/name"), Ok(()), "another device has been mounted");
                        umount("a", 0).unwrap();
                    }
                    Err(errno) => {
                        refused += 1;
                        assert_eq!(errno, Errno::PERM);
                    }
                }
            }
        },
    );
    end.store(true, Ordering::Relaxed);
    swaps.join().unwrap();
}
