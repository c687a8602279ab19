//! Block devices of a caller, to be mounted.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, CWD, Dev, FileType, Mode, OFlags, accessat, chmodat, mkdirat, mknodat, open,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::{chroot, fchdir};

use crate::raw;
use crate::scene::Scene;

/// A block device in a file system of our own, where there is nothing else.
///
/// The kernel looks the source of a mount up by its path, and remembers that. In the caller's file system something
/// else can be there by then; here the same path leads to the device that was found.
#[derive(Debug)]
pub struct LoneDevice {
    root: OwnedFd,
}

impl LoneDevice {
    /// Puts the device where `path` leads to, from a root that is the working directory as well. The thread must be
    /// itself, not acting. It takes `CAP_SYS_ADMIN` and `CAP_MKNOD`.
    pub fn new(path: &CStr, device: Dev) -> Result<Self, Errno> {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), c"mode", c"755")?;
        fsconfig_create(context.as_fd())?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
        let components: Vec<_> =
            path.to_bytes().split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
        let (name, folders) = components.split_last().ok_or(Errno::INVAL)?;
        let mut at = Vec::with_capacity(path.count_bytes());
        for folder in folders {
            if *folder == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            push(&mut at, folder);
            match mkdirat(&root, at.as_slice(), Mode::RWXU) {
                // Whoever acts may be anybody, and our umask anything.
                Ok(()) => chmodat(&root, at.as_slice(), Mode::from_raw_mode(0o755), AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(other) => return Err(other),
            }
        }
        push(&mut at, name);
        mknodat(&root, at.as_slice(), FileType::BlockDevice, Mode::empty(), device)?;
        Ok(Self { root })
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

impl Scene<'_> {
    /// Opens a device for reading, by an `O_PATH` descriptor of its node: what the kernel asks of an `open(2)` is asked
    /// of the caller, whether the node lies on a nodev mount included. Does not wait for a medium.
    pub fn open_device(&self, node: impl AsFd) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.by_link(node.as_fd(), |link| open(link, flags, Mode::empty()))
    }

    /// Whether the caller may write to what an `O_PATH` descriptor holds (`faccessat2(2)`): EACCES if not.
    pub fn check_writable(&self, file: impl AsFd) -> Result<(), Errno> {
        self.by_link(file.as_fd(), |link| accessat(CWD, link, Access::WRITE_OK, AtFlags::EACCESS))
    }

    /// Runs `work` where the device's file system is root and working directory. No helper can (EPERM).
    pub fn beside_device<T>(
        &self,
        device: &LoneDevice,
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.actor().is_helper {
            return Err(Errno::PERM);
        }
        let enter = |root: &OwnedFd| {
            self.with_own_capabilities(|| {
                fchdir(root)?;
                chroot(c".")
            })
        };
        let outcome = enter(&device.root).and_then(|()| work());
        if enter(self.caller().root()).is_err() {
            // What follows would find nothing of the caller's.
            raw::end_thread();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::fs::{fstat, makedev, openat};

    use crate::caller::Caller;

    #[test]
    fn the_same_path_leads_to_the_device_and_to_nothing_else() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let caller = Caller::open(tid).unwrap();
        let number = makedev(7, 0);
        for path in [c"/dev/loop0", c"dev/loop0", c"../a/./b/../../dev//loop0", c"x", c"/proc/self/fd/3"] {
            let device = LoneDevice::new(path, number).unwrap();
            let found = caller.act(
                || true,
                rustix::thread::CapabilitySet::empty(),
                |scene| {
                    scene.beside_device(&device, || {
                        let node = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                        assert_eq!(open(c"/etc", OFlags::PATH, Mode::empty()).map(drop), Err(Errno::NOENT));
                        fstat(node)
                    })
                },
            );
            assert_eq!(found.unwrap().st_rdev, number, "{path:?}");
        }
        assert!(std::path::Path::new("/etc").exists());
        for path in [c"", c"/", c"./."] {
            assert_eq!(LoneDevice::new(path, number).map(drop), Err(Errno::INVAL), "{path:?}");
        }
    }
}
