//! Acting as threads of this test's own process that have taken on other roots and identities. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, Gid, Mode, Uid, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsmount, fsopen,
    mount_change,
};
use rustix::thread::{
    capabilities, gettid, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, EntryPath, Error};

/// A thread that has become somebody and waits.
struct Somebody {
    tid: u32,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Somebody {
    fn new(transform: impl FnOnce() + Send + 'static) -> Self {
        let (send, tid) = channel();
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS).unwrap();
            transform();
            send.send(gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            let _ = ended.recv();
        });
        Self { tid: tid.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }

    /// User 1000 with a root of its own and a umask.
    fn in_root(root: &Path) -> Self {
        let root = root.to_owned();
        Self::new(move || {
            rustix::process::chroot(&root).unwrap();
            rustix::process::chdir("/home").unwrap();
            rustix::process::umask(Mode::from_raw_mode(0o027));
            become_user(&[2000]);
        })
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn become_user(groups: &[u32]) {
    set_thread_groups(&groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>()).unwrap();
    let (uid, gid) = (Uid::from_raw(1000), Gid::from_raw(1001));
    set_thread_res_gid(gid, gid, gid).unwrap();
    set_thread_res_uid(uid, uid, uid).unwrap();
}

/// A root with a directory `home` that everybody may write to.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    fs::create_dir(root.path().join("home")).unwrap();
    fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("home"), PermissionsExt::from_mode(0o777)).unwrap();
    root
}

/// The lines of this thread's status that acting changes, and where it is.
fn state() -> (Vec<String>, Vec<std::path::PathBuf>) {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let changed = ["Umask", "Uid", "Gid", "Groups", "Cap"];
    let lines = status.lines().filter(|line| changed.iter().any(|name| line.starts_with(name)));
    let entries = ["root", "cwd", "ns/mnt", "ns/pid_for_children"];
    let places = entries.map(|link| fs::read_link(format!("/proc/thread-self/{link}")).unwrap());
    (lines.map(str::to_owned).collect(), places.to_vec())
}

fn make_directory(caller: &Caller, path: &std::ffi::CStr) -> Result<(), Error> {
    let path = EntryPath::new(path);
    let base = Caller::base(caller, AT_FDCWD, c"x")?;
    caller.act(
        || true,
        Capabilities::empty(),
        |scene| {
            let place = scene.place(&base, &path)?;
            mkdirat(place.directory(), place.name(), Mode::from_raw_mode(0o777))
        },
    )
}

#[test]
fn what_is_made_is_the_callers_and_lies_where_its_paths_lead() {
    let root = root();
    let somebody = Somebody::in_root(root.path());
    let before = state();
    let caller = Caller::open(somebody.tid).unwrap();
    make_directory(&caller, c"mine").unwrap();
    make_directory(&caller, c"/home/../../../home/mine2/").unwrap();
    assert_eq!(make_directory(&caller, c"/mine").unwrap_err(), Error::Call(Errno::ACCESS));
    assert_eq!(state(), before);
    for name in ["mine", "mine2"] {
        let made = fs::metadata(root.path().join("home").join(name)).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1001, 0o750), "{name}");
    }
}

#[test]
fn the_thread_is_the_caller_and_then_itself_again() {
    // Its root is ours, so that what we have become can be read from /proc.
    let somebody = Somebody::new(|| become_user(&[2000, 3000]));
    let before = state();
    let caller = Caller::open(somebody.tid).unwrap();
    let inside = caller.act(|| true, Capabilities::CHOWN, |_| Ok((state().0, capabilities(None)?.effective)));
    let (lines, effective) = inside.unwrap();
    assert_eq!(effective, Capabilities::CHOWN);
    for line in ["Uid:\t0\t0\t0\t1000", "Gid:\t0\t0\t0\t1001", "Groups:\t2000 3000 "] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
    assert_eq!(state(), before);
}

#[test]
fn other_threads_do_not_notice() {
    let root = root();
    let somebody = Somebody::in_root(root.path());
    let caller = Caller::open(somebody.tid).unwrap();
    // Born after this thread has prepared itself, and so sharing its root until it acts.
    let (ask, asked) = channel::<()>();
    let (answer, answered) = channel();
    let bystander = std::thread::spawn(move || {
        for () in asked {
            answer
                .send((fs::read_link("/proc/thread-self/root").unwrap(), fs::metadata("/proc").is_ok()))
                .unwrap();
        }
    });
    let seen = caller.act(
        || true,
        Capabilities::empty(),
        |_| {
            ask.send(()).unwrap();
            Ok(answered.recv().unwrap())
        },
    );
    assert_eq!(seen.unwrap(), ("/".into(), true));
    drop(ask);
    bystander.join().unwrap();
}

#[test]
fn nothing_is_done_for_a_caller_that_has_left() {
    let caller = Somebody::new(|| ()).tid;
    assert_eq!(Caller::open(caller).unwrap_err(), Error::Gone);
    assert_eq!(Caller::open(0).unwrap_err(), Error::Invisible);

    let somebody = Somebody::new(|| ());
    let caller = Caller::open(somebody.tid).unwrap();
    let mut done = false;
    let outcome = caller.act(
        || false,
        Capabilities::empty(),
        |_| {
            done = true;
            Ok(())
        },
    );
    assert_eq!((outcome, done), (Err(Error::Gone), false));
    assert_eq!(Error::Gone.errno(), Errno::INTR);
}

#[test]
fn a_mount_that_nobody_waits_for_any_more_is_taken_away_again() {
    let root = root();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let somebody = Somebody::new(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", private).unwrap();
    });
    let home = root.path().join("home");
    let target = CString::new(home.to_str().unwrap()).unwrap();
    let before = state();
    let attach = |is_valid: bool| {
        let caller = Caller::open(somebody.tid).unwrap();
        let namespace = caller.mount_namespace().unwrap();
        let (mount, at) = caller
            .act(
                || true,
                Capabilities::SYS_ADMIN,
                |scene| {
                    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
                    fsconfig_create(context.as_fd())?;
                    let attributes = MountAttrFlags::empty();
                    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
                    Ok((mount, scene.mount_point(&target, rustix::fs::OFlags::DIRECTORY)?))
                },
            )
            .unwrap();
        namespace.attach(mount, at, || is_valid)
    };
    let mounted = || {
        let mounts = fs::read_to_string(format!("/proc/self/task/{}/mounts", somebody.tid)).unwrap();
        mounts.lines().filter(|line| line.contains(home.to_str().unwrap())).count()
    };
    assert_eq!(attach(false), Err(Error::Gone));
    assert_eq!(mounted(), 0);
    assert_eq!(attach(true), Ok(()));
    assert_eq!(mounted(), 1);
    assert_eq!(attach(false), Err(Error::Gone));
    assert_eq!(mounted(), 1);
    assert_eq!(state(), before);
}

#[test]
fn a_panic_comes_home_before_it_is_reported() {
    let root = root();
    let somebody = Somebody::in_root(root.path());
    let tid = somebody.tid;
    std::thread::spawn(move || {
        let before = state();
        let caller = Caller::open(tid).unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            caller.act(|| true, Capabilities::empty(), |_| -> Result<(), Errno> { panic!("on purpose") })
        }));
        assert!(caught.is_err());
        assert_eq!(state(), before);
        make_directory(&caller, c"after").unwrap();
    })
    .join()
    .unwrap();
    assert!(root.path().join("home/after").exists());
}

#[test]
fn a_caller_whose_root_is_closed_to_it_is_acted_for() {
    let root = root();
    let file = root.path().join("home/file");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
    let somebody = Somebody::in_root(root.path());
    fs::set_permissions(root.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let open = fs::File::open(&file).unwrap();
    let caller = Caller::open(somebody.tid).unwrap();
    let target = caller.descriptor(std::os::fd::AsRawFd::as_raw_fd(&open)).unwrap();
    let outcome = caller.act(
        || true,
        Capabilities::empty(),
        |scene| scene.set_attribute(scene.open(&target)?, c"user.x", b"1", rustix::fs::XattrFlags::empty()),
    );
    assert_eq!(outcome, Ok(()));
}

#[test]
fn a_thread_that_cannot_come_back_ends() {
    let root = root();
    let somebody = Somebody::in_root(root.path());
    let tid = somebody.tid;
    let (send, receive) = channel();
    let actor = std::thread::spawn(move || {
        send.send(gettid().as_raw_nonzero().get()).unwrap();
        let caller = Caller::open(tid).unwrap();
        let outcome = caller.act(
            || true,
            Capabilities::empty(),
            |_| {
                let mut sets = capabilities(None)?;
                sets.permitted = Capabilities::empty();
                set_capabilities(None, sets)
            },
        );
        send.send(i32::from(outcome.is_ok())).unwrap();
    });
    let task = format!("/proc/self/task/{}", receive.recv().unwrap());
    let ended = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        !Path::new(&task).exists()
    });
    assert!(ended, "{task} is still there");
    assert!(receive.try_recv().is_err(), "it has gone on");
    drop(actor);
}

#[test]
fn the_capabilities_of_another_user_namespace_are_worth_nothing() {
    let mut child = std::process::Command::new("unshare").args(["--user", "sleep", "60"]).spawn().unwrap();
    let caller = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(1));
        Caller::open(child.id()).ok().filter(|caller| !caller.is_in_our_user_namespace())
    });
    let caller = caller.unwrap();
    let effective = |_: &seccomp_agent_nsenter::Scene<'_>| Ok(capabilities(None)?.effective);
    assert_eq!(caller.act(|| true, Capabilities::SYS_ADMIN, effective).unwrap(), Capabilities::empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_directory_argument_is_what_the_caller_has_open() {
    let root = root();
    let somebody = Somebody::in_root(root.path());
    let caller = Caller::open(somebody.tid).unwrap();
    let open = fs::File::open(root.path().join("home")).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&open);
    let (base, path) = (caller.base(number, c"x").unwrap(), EntryPath::new(c"x"));
    let outcome = caller.act(
        || true,
        Capabilities::empty(),
        |scene| {
            let place = scene.place(&base, &path)?;
            mkdirat(place.directory(), place.name(), Mode::RWXU)
        },
    );
    assert_eq!(outcome, Ok(()));
    assert!(root.path().join("home/x").exists());
    for closed in [9999, -1, -7, i32::MAX] {
        assert_eq!(caller.base(closed, c"x").unwrap_err(), Error::Call(Errno::BADF), "{closed}");
        assert!(caller.base(closed, c"/x").is_ok(), "an absolute path needs no directory");
        assert!(caller.base(closed, c"").is_ok(), "an empty path is refused first");
    }
}

#[test]
fn no_path_leads_through_the_agents_own_procfs_entries() {
    let agent = std::process::id();
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let link = outside.path().join("link");
    std::os::unix::fs::symlink(format!("/proc/{agent}/root"), &link).unwrap();
    let (outside_path, link) = (outside.path().to_str().unwrap(), link.to_str().unwrap());
    // Another process than ours, in our pid namespace.
    let mut child = std::process::Command::new("sleep").arg("60").uid(1000).gid(1000).spawn().unwrap();
    let caller = Caller::open(child.id()).unwrap();
    let target = |path: &str, flags| {
        let target = caller.target(AT_FDCWD, &CString::new(path).unwrap(), flags).unwrap();
        let outcome = caller.act(|| true, Capabilities::empty(), |scene| scene.open(&target).map(drop));
        outcome.map_err(Error::errno)
    };
    let make = |path: &str| make_directory(&caller, &CString::new(path).unwrap()).map_err(Error::errno);
    for through in [
        format!("/proc/{agent}/root{outside_path}"),
        format!("/proc/{agent}/cwd/../../../../../..{outside_path}"),
        format!("/proc/{agent}/task/{agent}/root{outside_path}"),
        format!("{link}{outside_path}"),
        format!("/proc/self/root{link}{outside_path}"),
    ] {
        assert_eq!(make(&format!("{through}/escaped")), Err(Errno::ACCESS), "{through}");
        assert_eq!(target(&through, AtFlags::empty()), Err(Errno::ACCESS), "{through}");
    }
    // What is no link there is not handed out either, and nothing is made.
    for entry in ["mem", "environ", "root", "task"] {
        assert_eq!(
            target(&format!("/proc/{agent}/{entry}"), AtFlags::SYMLINK_NOFOLLOW),
            Err(Errno::PERM),
            "{entry}"
        );
        assert_eq!(make(&format!("/proc/{agent}/{entry}")), Err(Errno::EXIST), "{entry}");
    }
    // But its own links mean itself.
    assert_eq!(make(&format!("/proc/self/root{outside_path}/mine")), Ok(()));
    assert_eq!(fs::read_dir(outside_path).unwrap().count(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
}
