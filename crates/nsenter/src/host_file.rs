use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::change::own_link;
use crate::error::Error;
use crate::home::Home;
use crate::raw;

/// Flags of an `open` that mean the same for a file that exists and is already found. What creates, what takes
/// the terminal, and what sends signals is not among them.
const PASSED_ON: OFlags = OFlags::ACCMODE
    .union(OFlags::APPEND)
    .union(OFlags::TRUNC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::DIRECTORY)
    .union(OFlags::DSYNC)
    .union(OFlags::SYNC)
    .union(OFlags::DIRECT)
    .union(OFlags::PATH);

/// Opens a file, device or directory of the **host** so that it can be handed to a container. The thread must be
/// itself, not acting.
///
/// What is opened lies in a mount of its own that nobody else sees: there is no way up from a directory, and a
/// read-only file cannot be opened again for writing through `/proc/self/fd` (Linux 5.12; ENOSYS before).
/// Devices are no part of that: a read-only mount lets them be written to. No component of `path` may be a
/// symbolic link (ELOOP), since a container may own one of the directories.
pub fn open_host_file(path: &CStr, flags: OFlags, read_only: bool) -> Result<OwnedFd, Error> {
    let home = Home::of_this_thread()?;
    let mount = detached(&find_host_file(path)?)?;
    if read_only {
        raw::change_mount(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::empty())?;
    }
    let flags = flags & PASSED_ON | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(openat(&home.proc, own_link(mount.as_fd()).as_c_str(), flags, Mode::empty())?)
}

/// Finds a file of the **host** without opening it: an `O_PATH` descriptor. No component of `path` may be a
/// symbolic link (ELOOP). The thread must be itself, not acting.
pub fn find_host_file(path: &CStr) -> Result<OwnedFd, Error> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// A device node of the **host**, which [`find_host_file`] has found, in a mount of its own: to be
/// [attached](crate::MountNamespace::attach) for a container. The mount is private, nosuid and noexec, and not nodev
/// whatever the one is that the node lies in. It is read-only as well, which devices do not mind: owner, mode and
/// times are those of the host's node, and stay so. Takes Linux 5.12 (ENOSYS).
pub fn clone_host_node(node: impl AsFd) -> Result<OwnedFd, Error> {
    let mount = detached(node)?;
    let set = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    raw::change_mount(mount.as_fd(), set, MountAttrFlags::MOUNT_ATTR_NODEV)?;
    Ok(mount)
}

/// A copy of the mount that a file lies in, with nothing but that file and what is below it.
fn detached(found: impl AsFd) -> Result<OwnedFd, Errno> {
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(found, c"", clone)
}
