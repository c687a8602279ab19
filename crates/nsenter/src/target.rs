use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::caller::{Base, Caller};
use crate::error::Error;
use crate::scene::Scene;
use crate::walk::{Found, is_procfs, walk};

/// A file of the caller that a call names, by a path or by a descriptor: prepared before acting, opened by
/// [`Scene::open`].
#[derive(Debug)]
pub struct Target(Name);

#[derive(Debug)]
enum Name {
    Path { base: Base, path: CString, flags: OFlags },
    Open(OwnedFd),
}

impl Caller {
    /// What `path` names, from the directory `dirfd` on. Of the flags, `SYMLINK_NOFOLLOW` and `EMPTY_PATH`
    /// count.
    pub fn target(&self, dirfd: i32, path: &CStr, flags: AtFlags) -> Result<Target, Error> {
        if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
            return self.directory_argument(dirfd).map(|fd| Target(Name::Open(fd)));
        }
        let flags =
            if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { OFlags::NOFOLLOW } else { OFlags::empty() };
        Ok(Target(Name::Path { base: self.base(dirfd, path)?, path: path.to_owned(), flags }))
    }

    /// What the caller has open as `fd`; EBADF where the caller could do nothing with it but name it
    /// (`O_PATH`).
    pub fn descriptor(&self, fd: i32) -> Result<Target, Error> {
        let opened = self.open_descriptor(fd)?;
        if self.descriptor_flags(fd)?.contains(OFlags::PATH) {
            return Err(Error::Call(Errno::BADF));
        }
        Ok(Target(Name::Open(opened)))
    }
}

impl Scene<'_> {
    /// Opens what a call names: an `O_PATH` descriptor. Entries of procfs are refused with EPERM: they are the
    /// host's, and the agent's would be among them.
    pub fn open(&self, target: &Target) -> Result<OwnedFd, Errno> {
        let Found { file, in_procfs } = self.find(target)?;
        if in_procfs { Err(Errno::PERM) } else { Ok(file) }
    }

    /// [`open`](Self::open) of what is to be mounted onto. Like a [`mount_point`](Self::mount_point), it may be an
    /// entry of procfs.
    pub fn open_mount_point(&self, target: &Target) -> Result<OwnedFd, Errno> {
        self.find(target).map(|found| found.file)
    }

    fn find(&self, target: &Target) -> Result<Found, Errno> {
        match &target.0 {
            Name::Path { base, path, flags } => walk(self, base, path, *flags),
            Name::Open(fd) => {
                Ok(Found { file: fcntl_dupfd_cloexec(fd.as_fd(), 0)?, in_procfs: is_procfs(fd)? })
            }
        }
    }
}
