use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MoveMountFlags, UnmountFlags, fsconfig_set_fd, fsopen, move_mount, unmount,
};
use rustix::process::{DumpableBehavior, fchdir, set_dumpable_behavior};

use crate::error::Error;
use crate::home::{Home, join_mount_namespace};
use crate::raw;
use crate::scene::Scene;

/// The mount namespace of a caller.
#[derive(Debug)]
pub struct MountNamespace {
    tid: u32,
    home: Rc<Home>,
    fd: OwnedFd,
}

/// The pid namespace of a caller.
#[derive(Debug)]
pub struct PidNamespace(OwnedFd);

impl MountNamespace {
    pub(crate) const fn new(tid: u32, home: Rc<Home>, fd: OwnedFd) -> Self {
        Self { tid, home, fd }
    }

    /// Mounts what `mount` is, a descriptor of `fsmount(2)` or `open_tree(2)`, onto what `target` is, an `O_PATH` descriptor of a
    /// [`Scene`]: inside the namespace, with our own capabilities. No path is looked up.
    ///
    /// A mount that `is_valid` says nobody waits for any more is taken away again, as far as possible: a caller
    /// that was interrupted tries again.
    pub fn attach(
        &self,
        mount: impl AsFd,
        target: impl AsFd,
        is_valid: impl FnOnce() -> bool,
    ) -> Result<(), Error> {
        let away = self.home.leave()?;
        join_mount_namespace(self.fd.as_fd()).map_err(|source| Error::Become {
            tid: self.tid,
            step: "setns(mnt)",
            source,
        })?;
        let by_descriptors =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        let outcome = move_mount(&mount, c"", target, c"", by_descriptors);
        let is_wanted = outcome.is_err() || is_valid();
        if !is_wanted && fchdir(&mount).is_ok() {
            // What covers it by now goes instead: that of the caller's second try, which ours then stands for.
            let _ = unmount(c".", UnmountFlags::DETACH);
        }
        drop(away);
        outcome?;
        if is_wanted { Ok(()) } else { Err(Error::Gone) }
    }
}

impl PidNamespace {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Scene<'_> {
    /// A context to mount the procfs of `namespace` (`fsopen(2)`); it takes a grant of `CAP_SYS_ADMIN`.
    ///
    /// `by_option`: the kernel takes the namespace as a mount option (Linux 6.17). Before, a child makes the
    /// context inside the namespace: it has none of our descriptors, lives for one system call, and for its sake
    /// the process becomes not dumpable.
    pub fn open_procfs(&self, namespace: &PidNamespace, by_option: bool) -> Result<OwnedFd, Errno> {
        if !by_option {
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            return raw::fsopen_proc_in_child(namespace.0.as_fd());
        }
        let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_fd(context.as_fd(), c"pidns", namespace.0.as_fd())?;
        Ok(context)
    }
}
