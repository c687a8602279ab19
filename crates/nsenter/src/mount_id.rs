use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::path::Arg;

/// Which mount something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MountId {
    /// What `/proc/PID/mountinfo` calls it. Given to another when the mount is gone.
    pub number: u64,
    /// What no other mount is ever called (Linux 6.8); before, and of one of FUSE that is not for whoever asks, the
    /// number.
    pub identity: u64,
}

/// What a file is to the mount that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The mount.
    pub mount: MountId,
    /// Whether it is the mount's root.
    pub is_root: bool,
}

impl Mounted {
    /// Asks for it (`statx(2)`, Linux 5.8).
    pub fn of(file: impl AsFd) -> Result<Self, Errno> {
        Self::at(file, c"")
    }

    /// Of an entry of a directory, which is not followed if it is a link.
    pub(crate) fn at(directory: impl AsFd, name: impl Arg + Copy) -> Result<Self, Errno> {
        /// `STATX_MNT_ID_UNIQUE`: asked for instead of the other.
        const IDENTITY: StatxFlags = StatxFlags::from_bits_retain(0x4000);
        // No file system is asked: it could be the container's, and never answer.
        let flags = AtFlags::EMPTY_PATH
            | AtFlags::SYMLINK_NOFOLLOW
            | AtFlags::NO_AUTOMOUNT
            | AtFlags::STATX_DONT_SYNC;
        let ask = |what| statx(&directory, name, flags, what);
        let has = |stat: &Statx, what: StatxFlags| stat.stx_mask & what.bits() != 0;
        // It is said unasked, and one of FUSE says nothing else to those whom it is not for.
        let stat = ask(StatxFlags::empty())?;
        let knows_roots = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        if !has(&stat, StatxFlags::MNT_ID) || !knows_roots {
            return Err(Errno::NOSYS);
        }
        let identity = match ask(IDENTITY) {
            Ok(identity) if has(&identity, IDENTITY) => identity.stx_mnt_id,
            Ok(_) | Err(Errno::ACCESS) => stat.stx_mnt_id,
            Err(other) => return Err(other),
        };
        let mount = MountId { number: stat.stx_mnt_id, identity };
        Ok(Self { mount, is_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) })
    }
}
