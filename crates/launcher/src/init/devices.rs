use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, chmod, makedev, mknodat, open, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::failure::{Failure, step};
use super::mount::{DATA, directory, new};

/// Devices that every container has: name and number on the memory or terminal major.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// The host's devices, held while its root is still in sight.
pub(super) struct HostDevices(Vec<(&'static str, Result<OwnedFd, Errno>)>);

impl HostDevices {
    pub(super) fn hold() -> Self {
        let hold = |name| {
            open_tree(
                CWD,
                format!("/dev/{name}"),
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            )
        };
        Self(DEVICES.iter().map(|(name, ..)| (*name, hold(name))).collect())
    }
}

/// A `/dev` of its own: the devices as new nodes, or, where a user namespace may make none, as the host's.
pub(super) fn populate(host: HostDevices) -> Result<(), Failure> {
    directory("/dev")?;
    let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
    new("tmpfs", "/dev", flags, Some(c"mode=755,size=65536k"))?;
    for ((name, major, minor), (_, held)) in DEVICES.into_iter().zip(host.0) {
        let path = format!("/dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        match mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(major, minor)) {
            Ok(()) => chmod(&path, mode).map_err(step(format_args!("chmod of {path}")))?,
            Err(Errno::PERM) => bind(&path, held)?,
            Err(errno) => return Err(step(format_args!("mknod of {path}"))(errno)),
        }
    }
    directory("/dev/pts")?;
    let devpts = MountFlags::NOSUID | MountFlags::NOEXEC;
    // 5 is the group of terminals; a user namespace may not have it.
    new("devpts", "/dev/pts", devpts, Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"))
        .or_else(|_| new("devpts", "/dev/pts", devpts, Some(c"newinstance,ptmxmode=0666,mode=0620")))?;
    directory("/dev/shm")?;
    new("tmpfs", "/dev/shm", DATA, Some(c"mode=1777,size=65536k"))?;
    directory("/dev/mqueue")?;
    match new("mqueue", "/dev/mqueue", DATA, None) {
        // A kernel without message queues.
        Err(_) if !has_mqueue() => {}
        other => other?,
    }
    for (content, path) in LINKS {
        symlink(content, path).map_err(step(format_args!("linking {path}")))?;
    }
    Ok(())
}

fn bind(path: &str, held: Result<OwnedFd, Errno>) -> Result<(), Failure> {
    let failed = || step(format!("binding the host's {path}"));
    let held = held.map_err(failed())?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(open(path, flags, Mode::from_raw_mode(0o666)).map_err(failed())?);
    move_mount(&held, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed())
}

fn has_mqueue() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("mqueue"))
}
