//! The block device that a file system is on.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, fstat, major, minor};
use rustix::mount::MountFlags;
use seccomp_agent_nsenter::{AT_FDCWD, Capabilities, Error, LoneDevice};
use seccomp_agent_registry::{Call, Errno};

use super::file_system::{FileSystem, FileSystemGrant, MountOption};
use super::mounter::Mounter;
use super::refuse;
use super::request::Request;
use crate::emulate::Failure;

/// It is found once, as the caller; what is mounted is what was found, whatever its path leads to by then.
pub(super) struct Device {
    pub(super) alone: LoneDevice,
    /// Whether the caller may write to it.
    pub(super) is_writable: bool,
    /// Held, so that the number is still this device's when it is mounted.
    _open: OwnedFd,
}

impl Device {
    /// Finds it. EPERM for one that is not listed, EACCES for one that the caller may not read, or not write to where
    /// the mount is not read-only.
    pub(super) fn find(
        call: &Call<'_>,
        mounter: &Mounter,
        grant: &FileSystemGrant,
        request: &Request,
    ) -> Result<Self, Failure> {
        let caller = &mounter.caller;
        let path = request.source.as_deref().filter(|path| !path.is_empty());
        let source = path.map(|path| caller.target(AT_FDCWD, path, AtFlags::empty())).transpose()?;
        let node = caller.act(
            || call.is_valid(),
            Capabilities::empty(),
            |scene| {
                // Before its source, as in the kernel.
                scene.mount_point(&request.target, OFlags::empty())?;
                scene.open(source.as_ref().ok_or(Errno::INVAL)?)
            },
        )?;
        let stat = fstat(&node)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(Errno::NOTBLK.into());
        }
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        call.note(|noted| {
            noted.asks(format_args!("device={major}:{minor}"));
        });
        if !grant.devices.iter().any(|listed| listed.has(true, major, minor)) {
            return refuse(call, "the device is not listed");
        }
        let read_only = request.flags.contains(MountFlags::RDONLY);
        let opened = caller.act(
            || call.is_valid(),
            Capabilities::empty(),
            |scene| {
                let writable = scene.check_writable(&node);
                if !read_only {
                    writable?;
                }
                Ok((scene.open_device(&node)?, writable.is_ok()))
            },
        );
        let (open, is_writable) = opened.inspect_err(|error| {
            if let Error::Call(Errno::ACCESS | Errno::PERM) = error {
                call.note(|noted| {
                    noted.because("the caller may not use the device so itself");
                });
            }
        })?;
        let alone = LoneDevice::new(path.ok_or(Errno::INVAL)?, stat.st_rdev)?;
        Ok(Self { alone, is_writable, _open: open })
    }
}

/// Adds options that the kernel would otherwise take from what is in the file system, or from whoever mounts it.
pub(super) fn complete(kind: FileSystem, mounter: &Mounter, options: &mut Vec<MountOption>) {
    let mut default = |key: &str, value: &str| {
        if options.iter().all(|option| option.key.as_bytes() != key.as_bytes()) {
            let string = |text: &str| CString::new(text).ok();
            options.extend(string(key).map(|key| MountOption { key, value: string(value) }));
        }
    };
    match kind {
        // It may say of itself that an error is to stop the machine.
        FileSystem::Ext4 => default("errors", "remount-ro"),
        // In a user namespace, the root of that is 0.
        FileSystem::Vfat if !mounter.is_foreign() => {
            let credentials = mounter.caller.credentials();
            default("uid", &credentials.fsuid.as_raw().to_string());
            default("gid", &credentials.fsgid.as_raw().to_string());
        }
        _ => {}
    }
}
