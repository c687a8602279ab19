//! Mounts of what a program answers for, by a caller that may mount and for one that may not. Needs root and
//! `/dev/fuse`.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::mount::MsFlags;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};
use rustix::thread::CapabilitySet;
use seccomp_agent_handlers::{FileSystem, FileSystemGrant, Mount};
use seccomp_agent_registry::Registry;
use support::audit::{audited, record};
use support::fuse_server;
use support::mounts::{Said, mount, table, umount};
use support::tree::{Kind, kind};

/// What is forced, and shown by the mount table.
const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const REMOUNT: MsFlags = MsFlags::MS_REMOUNT;

fn granting() -> Registry {
    audited(support::mounts::registry(&Mount::granting([FileSystem::Fuse])))
}

thread_local! {
    static TABLE: RefCell<Option<File>> = const { RefCell::new(None) };
    /// Opened before the caller is who it is: the devices of a chroot are its own.
    static DEVICES: RefCell<Vec<File>> = const { RefCell::new(Vec::new()) };
    static UID: Cell<u32> = const { Cell::new(0) };
}

/// A `/dev/fuse` that nobody has mounted with.
fn device() -> File {
    DEVICES.with_borrow_mut(|devices| devices.pop().unwrap())
}

/// What to mount with.
fn options(device: &File) -> String {
    let uid = UID.get();
    format!("fd={},rootmode=40000,user_id={uid},group_id={uid}", device.as_raw_fd())
}

/// Answers for it from now on.
fn serve(device: &File) -> std::thread::JoinHandle<()> {
    let (device, uid) = (device.try_clone().unwrap(), UID.get());
    std::thread::spawn(move || fuse_server::serve(device, "this\n", uid))
}

fn outcome(registry: Option<Registry>, who: &Kind, calls: fn(&mut Said)) -> (Said, Vec<String>) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    for name in ["", "w", "w/a", "w/b"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
        fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(0o777)).unwrap();
    }
    fs::write(root.path().join("w/file"), "").unwrap();
    let (here, there, who) = (root.path().to_owned(), root.path().to_owned(), who.clone());
    support::run(
        registry,
        move || {
            support::unshare_mounts();
            TABLE.set(File::open("/proc/thread-self/mountinfo").ok());
            let open = || File::options().read(true).write(true).open("/dev/fuse").unwrap();
            DEVICES.set((0..4).map(|_| open()).collect());
            UID.set(who.uid);
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
    for name in ["root", "user", "root bound by permissions", "user, chrooted"] {
        let (base, admin) = (kind(name), CapabilitySet::SYS_ADMIN);
        let with = |capabilities| Kind { capabilities, ..base.clone() };
        let native = outcome(None, &with(base.capabilities | admin), calls);
        let emulated = outcome(Some(granting()), &with(base.capabilities - admin), calls);
        assert_eq!(native, emulated, "{name}");
        assert!(native.0.iter().any(|(_, said)| said.is_ok()), "{name}: nothing succeeds");
    }
}

fn read(path: impl AsRef<Path>) -> Result<(), Errno> {
    match fs::read_to_string(path) {
        Ok(text) => {
            assert_eq!(text, "this\n");
            Ok(())
        }
        Err(error) => Err(Errno::from_io_error(&error).unwrap()),
    }
}

#[test]
fn nobody_has_to_answer_for_it_while_it_is_mounted() {
    compare(|said| {
        let device = device();
        let all = format!("{},default_permissions,allow_other,max_read=65536", options(&device));
        said.push(("mount".into(), mount("this", "a", "fuse.some", SAFE, &all)));
        // The same file system in another place.
        said.push(("again".into(), mount("this", "b", "fuse.some", SAFE, &all)));
        let answering = serve(&device);
        said.push(("name".into(), read("a/name")));
        said.push(("no name".into(), read("a/none")));
        said.push(("remount".into(), mount("", "a", "", REMOUNT | MsFlags::MS_RDONLY | SAFE, "any=thing")));
        said.push(("mount on it".into(), mount("this", "a", "fuse", SAFE, &all)));
        said.push(("unmount".into(), umount("a", 0)));
        said.push(("unmount again".into(), umount("a", 0)));
        said.push(("name, there".into(), read("b/name")));
        said.push(("unmount there".into(), umount("b", 0)));
        answering.join().unwrap();
        let left = self::device();
        said.push(("another".into(), mount("", "b", "fuse", SAFE, &options(&left))));
    });
}

#[test]
fn one_that_nobody_answers_for_any_more_is_unmounted() {
    compare(|said| {
        let device = device();
        said.push(("mount".into(), mount("this", "a", "fuse", SAFE, &options(&device))));
        drop(device);
        said.push(("name".into(), read("a/name")));
        said.push(("unmount".into(), umount("a", 0)));
        let device = self::device();
        said.push(("mount".into(), mount("this", "a", "fuse", SAFE, &options(&device))));
        drop(device);
        said.push(("unmount".into(), umount("a", 2)));
    });
}

#[test]
fn what_is_wrong_is_wrong_as_natively() {
    compare(|said| {
        let device = device();
        let fd = device.as_raw_fd();
        let file = File::open("file").unwrap();
        let (other, closed) = (file.as_raw_fd(), 1 << 19);
        let rest = "rootmode=40000,user_id=0,group_id=0";
        for template in [
            rest.to_owned(),
            String::new(),
            "fd=F".into(),
            "fd=F,rootmode=40000,user_id=0".into(),
            "fd=F,rootmode=100644,user_id=0,group_id=0".into(),
            "fd=F,rootmode=x,user_id=0,group_id=0".into(),
            format!("fd=O,{rest}"),
            format!("fd={closed},{rest}"),
            format!("fd=-1,{rest}"),
            format!("fd,{rest}"),
            format!("fd=x,{rest}"),
            format!("fd=F,nonsense,{rest}"),
        ] {
            let options = template.replace("=F", &format!("={fd}")).replace("=O", &format!("={other}"));
            said.push((template, mount("this", "a", "fuse", SAFE, &options)));
        }
        let options = options(&device);
        said.push(("no subtype".into(), mount("this", "a", "fuse.", SAFE, &options)));
        said.push(("onto a file".into(), mount("this", "file", "fuse", SAFE, &options)));
        said.push(("onto nothing".into(), mount("this", "none", "fuse", SAFE, &options)));
        let device = self::device();
        said.push(("mount".into(), mount("this", "a", "fuse", SAFE, &self::options(&device))));
    });
}

fn unprivileged(registry: Registry, calls: fn(&mut Said)) -> Said {
    let who = Kind { capabilities: kind("user").capabilities, ..kind("user") };
    outcome(Some(registry), &who, calls).0
}

#[test]
fn options_that_are_not_listed_are_refused() {
    let grant = FileSystemGrant { options: Some(vec![]), ..FileSystem::Fuse.into() };
    let registry = audited(support::mounts::registry(&Mount::granting([grant])));
    let (said, records) = record(|| {
        unprivileged(registry, |said| {
            let device = device();
            let all = format!("{},allow_other", options(&device));
            said.push(("to all".into(), mount("this", "a", "fuse", SAFE, &all)));
            said.push(("to itself".into(), mount("this", "a", "fuse", SAFE, &options(&device))));
        })
    });
    assert_eq!(said.into_iter().map(|(_, said)| said).collect::<Vec<_>>(), [Err(Errno::INVAL), Ok(())]);
    records.assert_refused(&[("errno", "EINVAL")]);
}

#[test]
fn step_by_step_there_is_none() {
    let mut registry = Registry::new();
    registry.on("fsopen", Mount::granting([FileSystem::Fuse])).unwrap();
    let said = unprivileged(audited(registry), |said| {
        said.push(("fsopen".into(), fsopen(c"fuse", FsOpenFlags::empty()).map(drop)));
    });
    assert_eq!(said, [("fsopen".into(), Err(Errno::NOSYS))]);
}

/// Has the kernel wait for its first answer (`FUSE_DEV_IOC_SYNC_INIT`, Linux 6.18), mounts, and never answers. Says so
/// before it mounts.
const NEVER_ANSWERS: &str = r#"
import ctypes, fcntl, os
device = os.open("/dev/fuse", os.O_RDWR)
fcntl.ioctl(device, 0xe503)
print("mounting", flush=True)
options = f"fd={device},rootmode=40000,user_id=1000,group_id=1000".encode()
ctypes.CDLL(None).mount(b"this", b"a", b"fuse", 0, options)
print("mounted", flush=True)
"#;

#[test]
fn one_that_never_answers_ends_with_its_caller() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    fs::create_dir(root.path().join("w")).unwrap();
    fs::create_dir(root.path().join("w/a")).unwrap();
    let here = root.path().to_owned();
    let who = Kind { capabilities: kind("root").capabilities - CapabilitySet::SYS_ADMIN, ..kind("root") };
    let said = support::run(
        Some(granting()),
        move || {
            support::unshare_mounts();
            who.enter(&here);
            who.take_credentials();
        },
        || {
            let mut command = Command::new("timeout");
            command.args(["--signal", "KILL", "2", "python3", "-c", NEVER_ANSWERS]);
            command.output().unwrap()
        },
    );
    // `run` has ended, and so has every call.
    let (out, err) = (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    let is_known = !err.contains("Error");
    assert_eq!(
        (out.as_str(), said.status.success()),
        if is_known { ("mounting\n", false) } else { ("", false) },
        "{err}"
    );
}
