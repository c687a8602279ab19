//! Who answers for a file system of FUSE (`fuse(4)`): whoever has opened `/dev/fuse`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::fsconfig_set_string;
use rustix::path::DecInt;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use seccomp_agent_registry::Call;

use super::file_system::{FileSystem, MountOption, parted};
use super::mounter::Mounter;
use super::request::Request;
use crate::emulate::Failure;

/// The device by which file systems are answered for (`Documentation/admin-guide/devices.txt` of the kernel).
const FUSE_DEVICE: (u32, u32) = (10, 229);

/// The option that says which descriptor of the caller's that is.
const FD: &CStr = c"fd";

pub(super) struct Fuse {
    /// What the caller has opened: the very same, not its file opened again. As long as it is held here, the kernel does
    /// not notice that whoever answers has ended.
    connection: OwnedFd,
    /// What the file system's type says behind the dot.
    subtype: Option<CString>,
}

impl Fuse {
    /// Takes hold of what the options say. EINVAL where that is no `/dev/fuse` of the caller's, or missing.
    pub(super) fn find(
        call: &Call<'_>,
        mounter: &Mounter,
        request: &Request,
        options: &[MountOption],
    ) -> Result<Self, Failure> {
        let last = options.iter().rev().find(|option| option.key.as_c_str() == FD);
        let number = last.and_then(|option| option.value.as_ref()?.to_str().ok()?.parse().ok());
        let number: i32 = number.ok_or(Errno::INVAL)?;
        let held = mounter.caller.open_descriptor(number).map_err(|error| match error.errno() {
            Errno::BADF => Errno::INVAL.into(),
            _ => Failure::from(error),
        })?;
        check_device(&held)?;
        let task = call.task().map_err(|_| Errno::INTR)?;
        let connection =
            pidfd_getfd(task, number, PidfdGetfdFlags::empty()).map_err(|errno| match errno {
                Errno::BADF => Errno::INVAL,
                Errno::SRCH => Errno::INTR,
                other => other,
            })?;
        // The caller's other threads may have opened something else there since.
        check_device(&connection)?;
        let kind = request.kind.as_deref().unwrap_or_default();
        let subtype = parted(kind).1.map(|subtype| match subtype {
            b"" => Err(Errno::INVAL),
            some => CString::new(some).map_err(|_| Errno::INVAL),
        });
        Ok(Self { connection, subtype: subtype.transpose()? })
    }

    /// Whether an option is said by [`configure`](Self::configure).
    pub(super) fn has(kind: FileSystem, option: &MountOption) -> bool {
        kind == FileSystem::Fuse && option.key.as_c_str() == FD
    }

    /// While acting.
    pub(super) fn configure(&self, context: BorrowedFd<'_>) -> Result<(), Errno> {
        fsconfig_set_string(context, FD, DecInt::new(self.connection.as_raw_fd()))?;
        self.subtype.as_ref().map_or(Ok(()), |subtype| fsconfig_set_string(context, c"subtype", subtype))
    }
}

fn check_device(file: impl AsFd) -> Result<(), Errno> {
    // Its file system is not asked: it may be one of FUSE itself.
    let stat = statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    let is_character = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::CharacterDevice;
    let number = (stat.stx_rdev_major, stat.stx_rdev_minor);
    if is_character && number == FUSE_DEVICE { Ok(()) } else { Err(Errno::INVAL) }
}
