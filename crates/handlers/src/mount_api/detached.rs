use std::ffi::CString;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, MountAttrFlags, MoveMountFlags, fsmount};
use seccomp_agent_nsenter::{Caller, Capabilities, Error, change_detached_mount};
use seccomp_agent_registry::{Arch, Call, Errno, Fields, Layout, Verdict};

use super::table::{DetachedMount, Table};
use super::{caller, descriptor, hand_in};
use crate::emulate::Failure;

/// What every mount has: nothing in a procfs is a program or a device.
const FORCED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Where a mount with mapped ids is asked for.
const ID_MAPPED: u64 = 0x0010_0000;

/// The largest `struct mount_attr` that the kernel takes: a page.
const MAX_ATTRIBUTES: u64 = 4096;

/// Flags of `mount_setattr(2)` that change nothing where the path is empty: `AT_SYMLINK_NOFOLLOW`,
/// `AT_NO_AUTOMOUNT`, `AT_RECURSIVE`.
const WITHOUT_EFFECT: i32 = 0x100 | 0x800 | 0x8000;

/// The propagations that a detached mount has anyway, or may be said to have: none, `MS_PRIVATE`, `MS_SLAVE`.
const PROPAGATIONS: [u64; 3] = [0, 1 << 18, 1 << 19];

/// `fsmount(2)`.
pub(super) fn make(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let Some(caller) = caller(call)? else { return Ok(Verdict::Continue) };
    let handle = descriptor(&caller, call.int_arg(0));
    let Some(context) = handle.and_then(|handle| table.context(handle)) else {
        return Ok(Verdict::Continue);
    };
    let asked = MountAttrFlags::from_bits_retain(call.int_arg(2).cast_unsigned());
    call.note(|noted| {
        noted.asks(format_args!("type=proc attributes={:#x}", asked.bits())).because("listed");
    });
    let flags = FsMountFlags::from_bits_retain(call.int_arg(1).cast_unsigned());
    if !FsMountFlags::FSMOUNT_CLOEXEC.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let (mount, root) = caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |_| {
            let mount = fsmount(context.file.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, asked | FORCED)?;
            // The mount's own descriptor is O_PATH, and such cannot be handed in.
            let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(&mount, c".", directory, Mode::empty())?;
            Ok((mount, root))
        },
    )?;
    let mount = table.insert_mount(mount)?;
    let handed = hand_in(call, root.as_fd(), flags.contains(FsMountFlags::FSMOUNT_CLOEXEC));
    if handed.is_err() {
        table.take_mount(&mount);
    }
    handed
}

/// `mount_setattr(2)` of a detached mount.
pub(super) fn change(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let flags = call.int_arg(2);
    let by_descriptor = AtFlags::EMPTY_PATH.bits().cast_signed();
    if flags & by_descriptor == 0 || flags & !(by_descriptor | WITHOUT_EFFECT) != 0 {
        return Ok(Verdict::Continue);
    }
    let Some((_, mount)) = named(call, table, 0)? else { return Ok(Verdict::Continue) };
    let wanted = Attributes::read(call)?;
    call.note(|noted| {
        noted.asks(format_args!("set={:#x} clear={:#x}", wanted.set, wanted.clear)).because("listed");
    });
    let (set, clear) = wanted.permitted()?;
    call.check_valid()?;
    if !set.is_empty() || !clear.is_empty() {
        change_detached_mount(&mount.file, set, clear)?;
    }
    Ok(Verdict::Return(0))
}

/// `move_mount(2)` of a detached mount.
pub(super) fn attach(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let flags = MoveMountFlags::from_bits_retain(call.int_arg(4).cast_unsigned());
    let known = MoveMountFlags::MOVE_MOUNT_F_SYMLINKS
        | MoveMountFlags::MOVE_MOUNT_F_AUTOMOUNTS
        | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS
        | MoveMountFlags::MOVE_MOUNT_T_AUTOMOUNTS
        | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    if !flags.contains(MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) || !known.contains(flags) {
        return Ok(Verdict::Continue);
    }
    let Some((caller, mount)) = named(call, table, 0)? else { return Ok(Verdict::Continue) };
    let path = call.memory().path(call.arg(3))?;
    call.note(|noted| {
        noted.path(&path).asks(format_args!("type=proc")).because("listed");
    });
    let mut lookup = AtFlags::empty();
    lookup.set(AtFlags::EMPTY_PATH, flags.contains(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH));
    lookup.set(AtFlags::SYMLINK_NOFOLLOW, !flags.contains(MoveMountFlags::MOVE_MOUNT_T_SYMLINKS));
    let target = caller.target(call.int_arg(2), &path, lookup)?;
    let mounts = caller.mount_namespace()?;
    let target =
        caller.act(|| call.is_valid(), Capabilities::empty(), |scene| scene.open_mount_point(&target))?;
    // Of two who move it, the first does.
    if !table.take_mount(&mount) {
        return Err(Errno::INVAL.into());
    }
    match mounts.attach(&mount.file, target, || call.is_valid()) {
        Ok(()) => Ok(Verdict::Return(0)),
        // Unmounted again: nobody can move it any more.
        Err(gone @ Error::Gone) => Err(gone.into()),
        Err(refused) => {
            table.put_back(mount);
            Err(refused.into())
        }
    }
}

/// The detached mount that the call names by a descriptor and an empty path, from this argument on.
fn named(
    call: &Call<'_>,
    table: &Table,
    first: usize,
) -> Result<Option<(Caller, Arc<DetachedMount>)>, Failure> {
    let Some(caller) = caller(call)? else { return Ok(None) };
    let root = descriptor(&caller, call.int_arg(first));
    let Some(mount) = root.and_then(|root| table.mount(root)) else { return Ok(None) };
    // Null is empty as well, since Linux 6.11.
    let path = call.memory().optional_c_string(call.arg(first + 1), 2);
    let is_empty = path.is_ok_and(|path: Option<CString>| path.is_none_or(|path| path.is_empty()));
    Ok(is_empty.then_some((caller, mount)))
}

/// `struct mount_attr`.
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
}

impl Layout for Attributes {
    fn size(_: Arch) -> usize {
        32
    }

    fn parse(fields: &mut Fields<'_>) -> Self {
        let (set, clear, propagation) = (fields.u64(), fields.u64(), fields.u64());
        Self { set, clear, propagation }
    }
}

impl Attributes {
    /// As the kernel copies a structure that grows: what is not known yet has to be zero.
    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let (address, size) = (call.arg(3), call.arg(4));
        let known = Self::size(call.syscall().arch);
        let size = match size {
            size if size > MAX_ATTRIBUTES => return Err(Errno::TOOBIG.into()),
            size => usize::try_from(size).map_err(|_| Errno::TOOBIG)?,
        };
        if size < known {
            return Err(Errno::INVAL.into());
        }
        let bytes = call.memory().bytes(address, size)?;
        if bytes[known..].iter().any(|byte| *byte != 0) {
            return Err(Errno::TOOBIG.into());
        }
        Ok(Self::parse(&mut Fields::new(&bytes, call.syscall().arch)))
    }

    /// What of it is done. What every mount has is not cleared, and that is no error: as in the options of
    /// `mount(2)`, `dev` and `exec` have no effect.
    fn permitted(&self) -> Result<(MountAttrFlags, MountAttrFlags), Errno> {
        if (self.set | self.clear) & ID_MAPPED != 0 {
            // A procfs has no mapped ids.
            return Err(Errno::INVAL);
        }
        if !PROPAGATIONS.contains(&self.propagation) {
            return Err(Errno::PERM);
        }
        let flags = |bits: u64| u32::try_from(bits).map_err(|_| Errno::INVAL);
        let set = MountAttrFlags::from_bits_retain(flags(self.set)?);
        let clear = MountAttrFlags::from_bits_retain(flags(self.clear)?);
        Ok((set, clear.difference(FORCED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(set: u64, clear: u64, propagation: u64) -> Result<(u32, u32), Errno> {
        let permitted = Attributes { set, clear, propagation }.permitted();
        permitted.map(|(set, clear)| (set.bits(), clear.bits()))
    }

    #[test]
    fn what_every_mount_has_is_never_cleared() {
        assert_eq!(permitted(0, 0xf, 0), Ok((0, 1)));
        assert_eq!(permitted(1, 0x7e, 1 << 18), Ok((1, 0x70)));
    }

    #[test]
    fn mapped_ids_shared_mounts_and_unknown_bits_are_refused() {
        assert_eq!(permitted(ID_MAPPED, 0, 0), Err(Errno::INVAL));
        assert_eq!(permitted(0, ID_MAPPED, 0), Err(Errno::INVAL));
        assert_eq!(permitted(0, 0, 1 << 20), Err(Errno::PERM));
        assert_eq!(permitted(0, 0, 1 << 17), Err(Errno::PERM));
        assert_eq!(permitted(1 << 40, 0, 0), Err(Errno::INVAL));
    }
}
