//! Where trees of mounts are put together and locked before a container gets them.
//!
//! The kernel locks what a mount namespace inherits from a more privileged one: what covers an entry of a tree
//! cannot be taken off it, neither by itself nor by taking the tree apart, and attributes cannot be cleared
//! (`mount_namespaces(7)`). So a tree is put together in a namespace whose user namespace has no rights, the
//! *workshop*, and cloned from a copy of it: the locks come along to wherever the clone is mounted.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::path::DecInt;
use rustix::process::{DumpableBehavior, fchdir, pivot_root, set_dumpable_behavior};
use rustix::thread::gettid;

use crate::error::Error;
use crate::helper::refuse_if_dumpable;
use crate::home::{Home, from_nix, join_mount_namespace, leave_mount_namespace};
use crate::process::Process;

/// A mount that is to cover an entry of another.
#[derive(Debug)]
pub struct Cover {
    /// The entry: a path from the other's root.
    pub at: CString,
    /// A mount that is nowhere attached.
    pub mount: OwnedFd,
}

/// How much of a tree [`lock_tree`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Tree,
    /// The mount at its root only: EINVAL if anything covers what is in that.
    Mount,
}

/// Covers entries of `tree`, the root of mounts that are nowhere attached and a directory, and locks everything
/// in it: what is returned in its stead can be unmounted as a whole only, and no attribute that it has can be
/// cleared, by nobody. An entry that the tree does not have needs no cover.
///
/// The first call in a process starts another for a moment, to make a user namespace. The thread must be itself,
/// not acting.
pub fn lock_tree(tree: OwnedFd, covers: &[Cover], extent: Extent) -> Result<OwnedFd, Error> {
    let home = Home::of_this_thread()?;
    let workshop = workshop(&home)?;
    let away = home.leave()?;
    let locked = join_mount_namespace(workshop.as_fd()).and_then(|()| {
        let tid = DecInt::new(gettid().as_raw_nonzero().get());
        let bench = tid.as_c_str();
        mkdirat(CWD, bench, Mode::RWXU)?;
        let locked = assemble(&tree, covers, bench).and_then(|()| copy_locked(&tree, extent));
        drop(tree);
        // Whatever cannot be removed stays in nobody's way.
        let _ = join_mount_namespace(workshop.as_fd())
            .and_then(|()| unmount(bench, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW));
        let _ = unlinkat(CWD, bench, AtFlags::REMOVEDIR);
        locked
    });
    drop(away);
    Ok(locked?)
}

fn assemble(tree: &OwnedFd, covers: &[Cover], bench: &CStr) -> Result<(), Errno> {
    let path = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    attach(tree.as_fd(), openat(CWD, bench, path, Mode::empty())?.as_fd())?;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    // All are looked up before the first is covered.
    let mut entries = Vec::with_capacity(covers.len());
    for cover in covers {
        match openat2(tree, &cover.at, path, Mode::empty(), below) {
            Ok(entry) => entries.push((cover, entry)),
            Err(Errno::NOENT) => {}
            Err(other) => return Err(other),
        }
    }
    entries.iter().try_for_each(|(cover, entry)| attach(cover.mount.as_fd(), entry.as_fd()))
}

fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let by_descriptors = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", by_descriptors)
}

/// Copies the namespace that the thread is in, into our user namespace: all in the copy is locked. What the working
/// directory is in comes along.
fn copy_locked(tree: &OwnedFd, extent: Extent) -> Result<OwnedFd, Errno> {
    fchdir(tree)?;
    leave_mount_namespace()?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = if extent == Extent::Tree { clone | OpenTreeFlags::AT_RECURSIVE } else { clone };
    open_tree(CWD, c".", clone)
}

/// The namespace, made on first use.
fn workshop(home: &Home) -> Result<Arc<OwnedFd>, Error> {
    static WORKSHOP: Mutex<Option<Arc<OwnedFd>>> = Mutex::new(None);
    let mut workshop = WORKSHOP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(workshop) = &*workshop {
        return Ok(Arc::clone(workshop));
    }
    let away = home.leave()?;
    let built = build(home);
    drop(away);
    let built = Arc::new(built.map_err(|(step, source)| Error::NoWorkshop { step, source })?);
    Ok(Arc::clone(workshop.insert(built)))
}

/// An empty file system, and a process that takes it along into namespaces of its own.
fn build(home: &Home) -> Result<OwnedFd, (&'static str, Errno)> {
    let at = |step| move |errno| (step, errno);
    leave_mount_namespace().map_err(at("unshare(CLONE_NEWNS)"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("making mounts private"))?;
    empty_root().map_err(at("mounting a root"))?;
    refuse_if_dumpable(home)?;
    let process = Process::start();
    // The thread that has started it shares our root, and nobody who does can join a mount namespace.
    unshare(CloneFlags::CLONE_FS).map_err(|errno| ("unshare(CLONE_FS)", from_nix(errno)))?;
    let entered = process.map_err(at("clone"))?.run(|| {
        // Whoever has our user id has all rights in the new user namespace, and could trace what has our memory.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("prctl(PR_SET_DUMPABLE)"))?;
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
            .map_err(|errno| ("unshare(CLONE_NEWUSER)", from_nix(errno)))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&home.proc, c"self/ns/mnt", flags, Mode::empty()).map_err(at("/proc/self/ns/mnt"))
    });
    entered.map_err(|_| ("unshare(CLONE_NEWUSER)", Errno::CHILD))?
}

fn empty_root() -> Result<(), Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"mode", c"700")?;
    fsconfig_create(context.as_fd())?;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::raw;

    fn file_system(kind: &CStr) -> OwnedFd {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_create(context.as_fd()).unwrap();
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV).unwrap()
    }

    fn entries(folder: impl AsFd, name: &CStr) -> usize {
        let opened = openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::Dir::new(opened).unwrap().count()
    }

    /// On a thread of its own: namespaces are changed.
    fn alone<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            body()
        });
        thread.join().unwrap()
    }

    #[test]
    fn what_is_covered_stays_so_for_whoever_holds_the_tree() {
        alone(|| {
            let covers = [
                Cover { at: c"bus".into(), mount: file_system(c"tmpfs") },
                Cover { at: c"nothing".into(), mount: file_system(c"tmpfs") },
            ];
            let locked = lock_tree(file_system(c"proc"), &covers, Extent::Tree).unwrap();
            let place = tempfile::tempdir_in("/tmp").unwrap();
            move_mount(&locked, c"", CWD, place.path(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
            assert_eq!(entries(&locked, c"bus"), 2);
            let below = place.path().join("bus");
            assert_eq!(unmount(&below, UnmountFlags::empty()), Err(Errno::INVAL));
            assert_eq!(unmount(&below, UnmountFlags::DETACH), Err(Errno::INVAL));
            let cleared =
                raw::change_mount(locked.as_fd(), MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NODEV);
            assert_eq!(cleared, Err(Errno::PERM));
            unmount(place.path(), UnmountFlags::DETACH).unwrap();
            assert_eq!(entries(&locked, c"bus"), 2, "it comes to light");
        });
    }

    #[test]
    fn a_mount_is_not_taken_from_below_its_covers() {
        alone(|| {
            let covers = || [Cover { at: c"bus".into(), mount: file_system(c"tmpfs") }];
            let alone = lock_tree(file_system(c"proc"), &covers(), Extent::Mount);
            assert_eq!(alone.map(drop), Err(Error::Call(Errno::INVAL)));
            lock_tree(file_system(c"proc"), &[], Extent::Mount).unwrap();
        });
    }

    #[test]
    fn the_thread_comes_back_and_leaves_nothing_behind() {
        alone(|| {
            let tables = || std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let before = tables();
            let missing = [Cover { at: c"stat/x".into(), mount: file_system(c"tmpfs") }];
            assert_eq!(
                lock_tree(file_system(c"proc"), &missing, Extent::Tree).map(drop),
                Err(Error::Call(Errno::NOTDIR))
            );
            drop(missing);
            assert_eq!(tables(), before);
        });
    }
}
