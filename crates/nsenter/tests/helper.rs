//! Acting for callers with a user namespace of their own. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod inside;

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, XattrFlags, chownat, getxattr, makedev, mkdirat, mknodat,
};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::getpid;
use rustix::thread::capabilities;
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, EntryPath, Error, Keeper};

use inside::{Inside, until};

/// A folder of a user of the namespace, which only root of the namespace may enter besides.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    chown(folder.path(), Some(105_000), Some(105_000)).unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

fn c_path(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().to_str().unwrap()).unwrap()
}

fn make_directory(caller: &Caller, path: impl AsRef<Path>) -> Result<(), Error> {
    let path = c_path(path);
    let (base, entry) = (caller.base(AT_FDCWD, &path)?, EntryPath::new(&path));
    caller.act(
        || true,
        Capabilities::empty(),
        |scene| {
            let place = scene.place(&base, &entry)?;
            mkdirat(place.directory(), place.name(), Mode::RWXU)
        },
    )
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid())
}

#[test]
fn capabilities_count_in_the_callers_namespace_and_nowhere_else() {
    let folder = folder();
    let made = folder.path().join("made");
    let inside = Inside::new(&["sleep", "60"]);
    let keeper = Keeper::new("capabilities");
    let caller = Caller::open_kept(inside.tid(), &keeper).unwrap();
    assert_eq!(make_directory(&caller, &made), Ok(()));
    assert_eq!(owner(&made), (100_000, 100_000));
    let target = caller.target(AT_FDCWD, &c_path(&made), AtFlags::empty()).unwrap();
    let give = |id: u32| {
        caller.act(
            || true,
            Capabilities::empty(),
            |scene| {
                let (user, group) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
                chownat(scene.open(&target)?, c"", user, group, AtFlags::EMPTY_PATH)
            },
        )
    };
    assert_eq!(give(1000), Ok(()));
    assert_eq!(owner(&made), (101_000, 101_000), "ids are those of the namespace");
    assert_eq!(give(65_536), Err(Error::Call(Errno::INVAL)), "which has no more");

    let attribute = |name: &std::ffi::CStr, value: &[u8]| {
        caller.act(
            || true,
            Capabilities::SYS_ADMIN,
            |scene| scene.set_attribute(scene.open(&target)?, name, value, XattrFlags::empty()),
        )
    };
    assert_eq!(attribute(c"trusted.x", b"1"), Err(Error::Call(Errno::PERM)));
    // CAP_CHOWN, permitted and effective, in the second version of the format (`capabilities(7)`).
    let words = [0x0200_0001_u32, 1, 0, 0, 0];
    let second = words.map(u32::to_le_bytes).concat();
    let _ = fs::remove_dir(&made);
    fs::write(&made, "").unwrap();
    chown(&made, Some(101_000), Some(101_000)).unwrap();
    let target = caller.target(AT_FDCWD, &c_path(&made), AtFlags::empty()).unwrap();
    let set = caller.act(
        || true,
        Capabilities::empty(),
        |scene| {
            scene.set_attribute(scene.open(&target)?, c"security.capability", &second, XattrFlags::empty())
        },
    );
    assert_eq!(set, Ok(()));
    let mut value = [0; 64];
    let len = getxattr(&made, c"security.capability", &mut value[..]).unwrap();
    assert_eq!(value[20..len], 100_000_u32.to_le_bytes(), "good for whose root is our user 100,000");

    // What belongs to nobody in the namespace is out of reach of its root.
    let ours = tempfile::tempdir_in("/tmp").unwrap();
    assert_eq!(make_directory(&caller, ours.path().join("x")), Err(Error::Call(Errno::ACCESS)));
    drop(keeper);
}

#[test]
fn who_the_caller_is_counts_in_the_namespace() {
    let folder = folder();
    let inside = Inside::new(&["sleep", "60"]);
    let mut user = inside.command(5000, &["sleep", "60"]).spawn().unwrap();
    let mut other = inside.command(5001, &["sleep", "60"]).spawn().unwrap();
    for child in [&user, &other] {
        until(|| fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() == "sleep");
    }
    let keeper = Keeper::new("who");
    for round in 0..3 {
        let make = |tid: u32, name: &str| {
            let path = folder.path().join(format!("{name}-{round}"));
            let caller = Caller::open_kept(tid, &keeper).unwrap();
            make_directory(&caller, &path).map(|()| owner(path))
        };
        assert_eq!(make(user.id(), "user"), Ok((105_000, 105_000)));
        assert_eq!(make(other.id(), "other"), Err(Error::Call(Errno::ACCESS)));
        assert_eq!(make(inside.tid(), "root"), Ok((100_000, 100_000)));
    }
    drop(keeper);
    for child in [&mut user, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn an_id_that_the_namespace_does_not_have_is_refused_before_anything_is_done() {
    let inside = Inside::new(&["sleep", "60"]);
    let holder = inside.holder();
    let act = |tid: u32, keeper: &Keeper| {
        let caller = Caller::open_kept(tid, keeper).unwrap();
        caller.act(|| true, Capabilities::empty(), |_| Ok(()))
    };
    let keeper = Keeper::new("unmapped");
    assert_eq!(act(inside.tid(), &keeper), Ok(()));
    // Its user is our root, who has no number there.
    let refused = act(holder, &keeper);
    assert!(matches!(refused, Err(Error::NoHelper { step: "mapping its ids", .. })), "{refused:?}");
    assert_eq!(act(inside.tid(), &keeper), Ok(()));
    drop(keeper);
    // Unless the helper was born as it.
    assert_eq!(act(holder, &Keeper::new("unmapped")), Ok(()));
}

#[test]
fn one_process_acts_a_thousand_times_and_ends_with_its_keepers() {
    let inside = Inside::new(&["sleep", "60"]);
    let [one, another] = [Keeper::new("thousand"), Keeper::new("thousand")];
    let helper = |keeper: &Keeper| {
        let caller = Caller::open_kept(inside.tid(), keeper).unwrap();
        caller.act(|| true, Capabilities::empty(), |_| Ok(getpid())).unwrap()
    };
    let pids: BTreeSet<_> =
        (0..1000).map(|round| helper([&one, &another][round % 2]).as_raw_nonzero()).collect();
    assert_eq!(pids.len(), 1);
    let pid = pids.first().unwrap().get();
    assert_ne!(pid.cast_unsigned(), std::process::id());
    let process = format!("/proc/{pid}");
    let root = fs::read_link(format!("{process}/root")).unwrap();
    assert_eq!(root, Path::new("/proc"), "between calls it holds nothing of the container");
    drop(one);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(Path::new(&process).exists(), "the other keeps it");
    drop(another);
    until(|| !Path::new(&process).exists());
    // Another container has another, though the namespace is the same.
    let one = Keeper::new("thousand");
    let pid = helper(&one);
    assert_ne!(helper(&Keeper::new("another")), pid);
    assert_eq!(helper(&one), pid);
}

#[test]
fn a_namespace_within_gives_nothing_around_it() {
    let folder = folder();
    let inside = Inside::new(&["sleep", "60"]);
    // User 7000 of the namespace is root of one that it makes.
    let nested = ["unshare", "--user", "--map-root-user", "sleep", "61"];
    let mut nested = inside.command(7000, &nested).spawn().unwrap();
    until(|| fs::read_to_string(format!("/proc/{}/comm", nested.id())).unwrap().trim() == "sleep");
    let keeper = Keeper::new("nested");
    let caller = Caller::open_kept(nested.id(), &keeper).unwrap();
    assert_eq!(
        caller.act(|| true, Capabilities::empty(), |_| Ok(capabilities(None)?.effective.bits())),
        caller.act(|| true, Capabilities::all(), |_| Ok(capabilities(None)?.effective.bits())),
        "it has all of them"
    );
    assert_eq!(make_directory(&caller, folder.path().join("x")), Err(Error::Call(Errno::ACCESS)));
    let own = tempfile::tempdir_in("/tmp").unwrap();
    chown(own.path(), Some(107_000), Some(107_000)).unwrap();
    let path = own.path().join("x");
    assert_eq!(make_directory(&caller, &path).map(|()| owner(path)), Ok((107_000, 107_000)));
    drop(keeper);
    nested.kill().unwrap();
    nested.wait().unwrap();
}

#[test]
fn what_counts_outside_only_is_done_without_what_the_caller_has_inside() {
    let folder = folder();
    let inside = Inside::new(&["sleep", "60"]);
    let keeper = Keeper::new("outside");
    let caller = Caller::open_kept(inside.tid(), &keeper).unwrap();
    let have = || Ok((capabilities(None)?.effective, getpid()));
    let found = caller.act_outside(|| true, Capabilities::MKNOD, |_| have(), |_, found| Ok((found, have()?)));
    let ((inside_has, helper), outside) = found.unwrap();
    assert_eq!(outside, (Capabilities::MKNOD, getpid()));
    assert!(inside_has.contains(Capabilities::DAC_OVERRIDE) && helper != getpid());
    let make = |path: PathBuf| {
        let path = c_path(path);
        let (base, entry) = (caller.base(AT_FDCWD, &path).unwrap(), EntryPath::new(&path));
        caller.act_outside(
            || true,
            Capabilities::MKNOD,
            |scene| scene.place(&base, &entry),
            |_, place| {
                let (kind, null) = (FileType::CharacterDevice, makedev(1, 3));
                mknodat(place.directory(), place.name(), kind, Mode::RUSR, null)
            },
        )
    };
    assert_eq!(make(folder.path().join("null")), Err(Error::Call(Errno::ACCESS)), "another user's folder");
    // But it is one that root of the namespace can search.
    fs::create_dir(folder.path().join("own")).unwrap();
    chown(folder.path().join("own"), Some(100_000), None).unwrap();
    assert_eq!(make(folder.path().join("own/null")), Ok(()));
    assert_eq!(owner(folder.path().join("own/null")), (100_000, 100_000));
    drop(keeper);
}

#[test]
fn a_panic_goes_on_at_home_and_the_helper_with_its_work() {
    let inside = Inside::new(&["sleep", "60"]);
    let tid = inside.tid();
    let work = std::thread::spawn(move || {
        let keeper = Keeper::new("panics");
        let caller = Caller::open_kept(tid, &keeper).unwrap();
        let helper = || caller.act(|| true, Capabilities::empty(), |_| Ok(getpid())).unwrap();
        let before = helper();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            caller.act(|| true, Capabilities::empty(), |_| -> Result<(), Errno> { panic!("on purpose") })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert_eq!(helper(), before);
        assert!(!std::thread::panicking());
        drop(keeper);
    });
    work.join().unwrap();
}

#[test]
fn of_many_namespaces_of_one_container_those_used_last_keep_their_helpers() {
    let many: Vec<_> = (0..9).map(|_| Inside::new(&["sleep", "60"])).collect();
    let keeper = Keeper::new("many");
    let helper = |inside: &Inside| {
        let caller = Caller::open_kept(inside.tid(), &keeper).unwrap();
        caller.act(|| true, Capabilities::empty(), |_| Ok(getpid())).unwrap().as_raw_nonzero().get()
    };
    let is_there = |process: i32| Path::new(&format!("/proc/{process}")).exists();
    let first_eight: Vec<_> = many[..8].iter().map(helper).collect();
    assert_eq!(helper(&many[0]), first_eight[0]);
    let ninth = helper(&many[8]);
    until(|| !is_there(first_eight[1]));
    assert!(is_there(first_eight[0]) && first_eight[2..].iter().copied().all(is_there) && is_there(ninth));
    assert_ne!(helper(&many[1]), first_eight[1], "it gets another");
    drop(keeper);
    until(|| !is_there(ninth));
}

#[test]
fn there_are_none_where_they_could_be_looked_into() {
    let inside = Inside::new(&["sleep", "60"]);
    let tid = inside.tid();
    let work = std::thread::spawn(move || {
        // As if `fs.suid_dumpable` were 1.
        let setting = tempfile::NamedTempFile::new_in("/tmp").unwrap();
        fs::write(setting.path(), "1\n").unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        mount_bind(setting.path(), "/proc/sys/fs/suid_dumpable").unwrap();
        let keeper = Keeper::new("dumpable");
        let caller = Caller::open_kept(tid, &keeper).unwrap();
        let refused = caller.act(|| true, Capabilities::empty(), |_| Ok(())).unwrap_err();
        drop(keeper);
        refused.to_string()
    });
    let refused = work.join().unwrap();
    let expected = format!(
        "acting in the user namespace of thread {tid} failed at fs.suid_dumpable, which must not be 1"
    );
    assert!(refused.starts_with(&expected), "{refused}");
}

#[test]
fn a_caller_that_could_not_be_acted_for_leaves_no_group_behind() {
    let (inside, closed) = (Inside::new(&["sleep", "60"]), tempfile::tempdir_in("/tmp").unwrap());
    fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o755)).unwrap();
    copy_program("/bin/busybox", closed.path().join("busybox"));
    let root = closed.path().to_str().unwrap();
    let chrooted = ["setpriv", "--groups", "6000", "chroot", root, "/busybox", "sleep", "60"];
    let mut member = inside.command(0, &chrooted).spawn().unwrap();
    let mut other = inside.command(5000, &["sleep", "60"]).spawn().unwrap();
    for (child, name) in [(&member, "busybox"), (&other, "sleep")] {
        until(|| fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() == name);
    }
    // From now on the member's helper cannot enter its root.
    fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let members_only = tempfile::tempdir_in("/tmp").unwrap();
    chown(members_only.path(), Some(100_000), Some(106_000)).unwrap();
    fs::set_permissions(members_only.path(), PermissionsExt::from_mode(0o070)).unwrap();

    let keeper = Keeper::new("groups");
    let caller = |child: &std::process::Child| Caller::open_kept(child.id(), &keeper).unwrap();
    let made = members_only.path().join("made");
    assert_eq!(make_directory(&caller(&other), &made), Err(Error::Call(Errno::ACCESS)));
    let refused = make_directory(&caller(&member), "/made");
    assert!(matches!(refused, Err(Error::NoHelper { step: "fchdir(root)", .. })), "{refused:?}");
    assert_eq!(make_directory(&caller(&other), &made), Err(Error::Call(Errno::ACCESS)));
    drop(keeper);
    for child in [&mut member, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Copies a program. Not by this process: what it has open for writing while another test forks cannot be executed.
fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    assert!(std::process::Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
