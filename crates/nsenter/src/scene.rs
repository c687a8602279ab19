use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2, statat};
use rustix::io::Errno;

use crate::caller::{Base, Caller};
use crate::entry::EntryPath;

/// What a caller's paths lead to, while a thread acts as the caller.
///
/// Paths are walked once, to a descriptor, and never through a *magic link* of procfs (`/proc/PID/root`, `cwd`,
/// `fd/N`, `task/…`): the kernel lets the threads of a process through each other's unasked, so the acting
/// thread's way through `/proc/<agent>/root` would end on the host. What is done then is done to the descriptor.
#[derive(Debug)]
pub struct Scene<'a> {
    _caller: &'a Caller,
}

/// A directory of the caller, and the name of something to be made there.
#[derive(Debug)]
pub struct Place<'p> {
    directory: OwnedFd,
    name: &'p CStr,
}

impl Place<'_> {
    /// The directory: an `O_PATH` descriptor.
    pub fn directory(&self) -> impl AsFd {
        &self.directory
    }

    /// The name in it: no slash but at the end.
    pub const fn name(&self) -> &CStr {
        self.name
    }
}

/// Whether a path's last component is followed if it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is.
    Yes,
    /// The link itself is meant.
    No,
}

impl<'a> Scene<'a> {
    pub(crate) const fn new(caller: &'a Caller) -> Self {
        Self { _caller: caller }
    }

    /// Where an entry is to be made. Nothing can be made in procfs: there it is ENOENT, or EEXIST if there is
    /// an entry of that name, as natively.
    pub fn place<'p>(&self, base: &Base, path: &'p EntryPath) -> Result<Place<'p>, Errno> {
        let directory = walk(base, &path.parent, OFlags::DIRECTORY)?;
        if is_procfs(&directory)? {
            // Of a name that ends in a slash the kernel would follow a link.
            if path.name.to_bytes().ends_with(b"/") {
                return Err(Errno::NOENT);
            }
            return match statat(&directory, &path.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(errno) => Err(errno),
            };
        }
        Ok(Place { directory, name: &path.name })
    }

    /// What a path means: an `O_PATH` descriptor. Entries of procfs are refused with EPERM: those of the agent
    /// would be among them.
    pub fn target(&self, base: &Base, path: &CStr, follow: Follow) -> Result<OwnedFd, Errno> {
        let flags = if follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
        let target = walk(base, path, flags)?;
        if is_procfs(&target)? { Err(Errno::PERM) } else { Ok(target) }
    }

    /// A directory to mount onto: an `O_PATH` descriptor. It may be one of procfs: what covers it is seen in
    /// the caller's mount namespace only.
    pub fn mount_point(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        walk(&Base::cwd(), path, OFlags::DIRECTORY)
    }
}

fn walk(base: &Base, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(base, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

fn is_procfs(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.f_type == PROC_SUPER_MAGIC)
}
