use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_set_fd, fsopen, move_mount, open_tree, unmount,
};
use rustix::process::{DumpableBehavior, fchdir, set_dumpable_behavior};

use crate::error::Error;
use crate::home::{Home, join_mount_namespace};
use crate::mount_id::{MountId, Mounted};
use crate::namespaces::NamespaceKind;
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

/// What a mount that is attached is changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// These attributes are set, and those cleared.
    Attributes {
        /// To be set.
        set: MountAttrFlags,
        /// To be cleared.
        clear: MountAttrFlags,
    },
    /// Another propagation.
    Propagation(MountPropagationFlags),
}

impl MountNamespace {
    pub(crate) const fn new(tid: u32, home: Rc<Home>, fd: OwnedFd) -> Self {
        Self { tid, home, fd }
    }

    /// Whether it is the agent's own.
    pub fn is_ours(&self) -> Result<bool, Error> {
        Ok(self.home.is_in(NamespaceKind::Mount, &self.fd)?)
    }

    /// All its mounts, whatever root the caller has: the content of a `mountinfo` (`proc_pid_mountinfo(5)`), whose
    /// paths begin at the namespace's root.
    pub fn table(&self) -> Result<Vec<u8>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // It stays that of the namespace and root it is opened in.
        let table =
            self.inside(|| openat(&self.home.proc, c"thread-self/mountinfo", flags, Mode::empty()))?;
        Ok(read_table(&table)?)
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
        let is_wanted = self.inside(|| {
            let by_descriptors =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&mount, c"", target, c"", by_descriptors)?;
            let is_wanted = is_valid();
            if !is_wanted && fchdir(&mount).is_ok() {
                // What covers it by now goes instead: that of the caller's second try, which ours then stands for.
                let _ = unmount(c".", UnmountFlags::DETACH);
            }
            Ok(is_wanted)
        })?;
        if is_wanted { Ok(()) } else { Err(Error::Gone) }
    }

    /// Moves a mount of the namespace, with all that is mounted on it, by descriptors as [`attach`](Self::attach) does.
    pub fn move_mount(&self, mount: impl AsFd, target: impl AsFd) -> Result<(), Error> {
        let by_descriptors =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        self.inside(|| move_mount(mount, c"", target, c"", by_descriptors))
    }

    /// A copy of what `source` is in the namespace and of everything mounted below it, attached nowhere and private.
    pub fn copy_tree(&self, source: impl AsFd) -> Result<OwnedFd, Error> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        let copy = self.inside(|| open_tree(source, c"", clone))?;
        raw::make_private(copy.as_fd())?;
        Ok(copy)
    }

    /// [`copy_tree`](Self::copy_tree) of the mount with this number, if it is what a path of the
    /// [`table`](Self::table) leads to.
    pub fn copy_mount(&self, at: &CStr, number: u64) -> Result<Option<OwnedFd>, Error> {
        let found = self.inside(|| {
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            openat2(CWD, at, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
        });
        match found {
            Ok(found) if Mounted::of(&found)?.mount.number == number => self.copy_tree(found).map(Some),
            Ok(_) | Err(Error::Call(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Changes the mount whose root is `root` (`mount_setattr(2)`).
    pub fn change(&self, root: impl AsFd, change: Change) -> Result<(), Error> {
        self.inside(|| match change {
            Change::Attributes { set, clear } => raw::set_attributes(root.as_fd(), set, clear),
            Change::Propagation(propagation) => raw::set_propagation(root.as_fd(), propagation),
        })
    }

    /// Unmounts a mount (`umount2(2)`) that lies where a path of the [`table`](Self::table) leads to: EINVAL if
    /// another one does by now. It is for the caller to see to it that nobody else unmounts it meanwhile.
    pub fn unmount(&self, at: &CStr, mount: MountId, flags: UnmountFlags) -> Result<(), Error> {
        let bytes = at.to_bytes();
        let slash = bytes.iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
        let (folder, name) = (&bytes[..=slash], &bytes[slash + 1..]);
        if name.is_empty() {
            return Err(Error::Call(Errno::BUSY));
        }
        self.inside(|| {
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat2(CWD, folder, path, Mode::empty(), resolve)?;
            fchdir(&folder)?;
            // The name is a mount point's: it cannot be renamed or removed while that is one.
            if Mounted::at(&folder, name)? != (Mounted { mount, is_root: true }) {
                return Err(Errno::INVAL);
            }
            unmount(name, flags | UnmountFlags::NOFOLLOW)
        })
    }

    /// Runs `work` inside the namespace, at its root, with our own capabilities.
    fn inside<T>(&self, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Error> {
        let away = self.home.leave()?;
        join_mount_namespace(&self.fd).map_err(|source| Error::Become {
            tid: self.tid,
            step: "setns(mnt)",
            source,
        })?;
        let outcome = work();
        drop(away);
        Ok(outcome?)
    }
}

/// How many bytes of a mount table are read: some tens of thousands of mounts, of which a kernel allows no more
/// than 100,000 (`fs.mount-max`).
const MAX_TABLE: usize = 16 << 20;

fn read_table(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::with_capacity(16 << 10);
    loop {
        if rustix::io::read(file, rustix::buffer::spare_capacity(&mut content))? == 0 {
            return Ok(content);
        }
        if content.len() > MAX_TABLE {
            return Err(Errno::TOOBIG);
        }
        content.reserve(4096);
    }
}

impl PidNamespace {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for PidNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for MountNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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
