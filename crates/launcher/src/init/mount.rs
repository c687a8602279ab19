//! Mounts, each with the path in its error.

use std::ffi::CStr;
use std::fmt::Debug;

use rustix::fs::{CWD, Mode, StatVfsMountFlags, mkdirat, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use rustix::path::Arg;

use super::failure::{Failure, step};

/// What file systems that hold no programs and no devices are mounted with.
pub(super) const DATA: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts a new file system of this type.
pub(super) fn new(
    kind: &str,
    target: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), Failure> {
    mount(kind, target, kind, flags, options).map_err(step(format_args!("mounting {kind} on {target}")))
}

/// Without a root filesystem of its own, a container sees the host's, but its own processes and message queues.
pub(super) fn fresh_proc_and_mqueue() -> Result<(), Failure> {
    new("proc", "/proc", DATA, None)?;
    match mount("mqueue", "/dev/mqueue", "mqueue", DATA, None) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        other => other.map_err(step("mounting mqueue on /dev/mqueue")),
    }
}

/// Makes a directory unless there is one.
pub(super) fn directory(path: &str) -> Result<(), Failure> {
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other.map_err(step(format_args!("making the directory {path}"))),
    }
}

/// Makes what is there read-only, for this mount namespace. Nothing there: nothing to do.
pub(super) fn read_only(path: &str) -> Result<(), Failure> {
    match mount_bind(path, path) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        other => {
            other.map_err(step(format_args!("binding {path}")))?;
            remount_read_only(path)
        }
    }
}

/// Makes the mount at `path` read-only, for this mount namespace.
pub(super) fn remount_read_only(path: impl Arg + Copy + Debug) -> Result<(), Failure> {
    let failed = || step(format!("making {path:?} read-only"));
    // What the mount has already may be locked by another user namespace, and would be taken for a wish to undo it.
    let has = statvfs(path).map_err(failed())?.f_flag;
    let same = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = same.iter().filter(|(has_it, _)| has.contains(*has_it));
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, |flags, (_, flag)| flags | *flag);
    mount_remount(path, flags, c"").map_err(failed())
}
