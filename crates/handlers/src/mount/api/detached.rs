use std::ffi::CString;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, MountAttrFlags, MoveMountFlags, fsmount};
use seccomp_agent_nsenter::{Capabilities, Error, change_detached_mount};
use seccomp_agent_registry::{Arch, Call, Errno, Fields, Layout, Verdict};

use super::table::{DetachedMount, Table};
use super::{attached, descriptor, give, refuse};
use crate::emulate::Failure;
use crate::mount::Mount;
use crate::mount::file_system::FileSystemGrant;
use crate::mount::mounter::Mounter;
use crate::mount::ours::{Made, Origin, Ours, number};
use crate::mount::setting::Setting;

/// Where a mount with mapped ids is asked for.
const ID_MAPPED: u64 = 0x0010_0000;

/// The largest `struct mount_attr` that the kernel takes: a page.
const MAX_ATTRIBUTES: u64 = 4096;

/// Flags of `mount_setattr(2)` that change nothing where the path is empty: `AT_SYMLINK_NOFOLLOW`,
/// `AT_NO_AUTOMOUNT`, `AT_RECURSIVE`.
const WITHOUT_EFFECT: i32 = 0x100 | 0x800 | 0x8000;

/// The propagations that a detached mount has anyway, or may be said to have: none, `MS_PRIVATE`, `MS_SLAVE`.
const PROPAGATIONS: [u64; 3] = [0, 1 << 18, 1 << 19];

/// `fsmount(2)`. What the container is not to see is covered before it gets the mount.
pub(super) fn make(call: &Call<'_>, table: &Table, grants: &[FileSystemGrant]) -> Result<Verdict, Failure> {
    let Some(mounter) = Mounter::enter(call)? else { return Ok(Verdict::Continue) };
    let handle = descriptor(&mounter.caller, call.int_arg(0));
    let Some(context) = handle.and_then(|handle| table.context(handle)) else {
        return Ok(Verdict::Continue);
    };
    let kind = context.of.kind;
    let asked = MountAttrFlags::from_bits_retain(call.int_arg(2).cast_unsigned());
    call.note(|noted| {
        let kind = kind.name().to_string_lossy();
        noted.asks(format_args!("type={kind} attributes={:#x}", asked.bits())).because("listed");
    });
    if context.namespace != number(&mounter.namespace)? {
        return refuse(call, "the context is for another mount namespace");
    }
    let flags = FsMountFlags::from_bits_retain(call.int_arg(1).cast_unsigned());
    if !FsMountFlags::FSMOUNT_CLOEXEC.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let grant =
        grants.iter().find(|grant| grant.kind == kind && grant.is_for(&mounter)).ok_or(Errno::PERM)?;
    let ours = Ours::of(call, &mounter)?;
    let setting = Setting::of(call, &mounter, &ours, kind)?;
    if setting.is_processes_only && !context.of.is_processes_only {
        return refuse(call, "the container has no procfs any more that would tell what to cover");
    }
    let forced = kind.forced(grant.allow) | setting.forced();
    let attributes = setting.first(asked, forced);
    let mount = setting.act(
        call,
        &mounter,
        |_| Ok(()),
        |_, ()| fsmount(context.file.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes),
    )?;
    let (mount, is_locked) = setting.cover(call, &mounter, mount, asked)?;
    let root = mounter.caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |_| {
            let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&mount, c".", directory, Mode::empty())
        },
    )?;
    let made = Made { is_locked, ..Made::of(Origin::FileSystem(kind), forced) };
    let made = Made { needs_sys_admin: grant.needs_sys_admin, ..made };
    let closes_on_exec = flags.contains(FsMountFlags::FSMOUNT_CLOEXEC);
    give(call, table, &mounter, mount, made, &root, closes_on_exec)
}

/// `mount_setattr(2)`.
pub(super) fn change(call: &Call<'_>, table: &Table, grants: &Mount) -> Result<Verdict, Failure> {
    let flags = call.int_arg(2);
    let by_descriptor = AtFlags::EMPTY_PATH.bits().cast_signed();
    if flags & !(by_descriptor | WITHOUT_EFFECT) != 0 {
        return Ok(Verdict::Continue);
    }
    let Some(mounter) = Mounter::enter(call)? else { return Ok(Verdict::Continue) };
    let Some(mount) = named(call, &mounter, table, flags & by_descriptor != 0) else {
        let is_left = mounter.is_capable || !grants.helps(&mounter);
        let propagates = grants.propagation;
        return if is_left { Ok(Verdict::Continue) } else { attached::change(call, &mounter, propagates) };
    };
    let wanted = Attributes::read(call)?;
    call.note(|noted| {
        noted.asks(format_args!("set={:#x} clear={:#x}", wanted.set, wanted.clear));
        noted.because("mounted for the container");
    });
    let (set, clear) = wanted.permitted(mount.made.kept)?;
    call.check_valid()?;
    if !set.is_empty() || !clear.is_empty() {
        change_detached_mount(&mount.file, set, clear)?;
    }
    Ok(Verdict::Return(0))
}

/// `move_mount(2)`.
pub(super) fn attach(call: &Call<'_>, table: &Table, grants: &Mount) -> Result<Verdict, Failure> {
    let flags = MoveMountFlags::from_bits_retain(call.int_arg(4).cast_unsigned());
    let known = MoveMountFlags::MOVE_MOUNT_F_SYMLINKS
        | MoveMountFlags::MOVE_MOUNT_F_AUTOMOUNTS
        | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS
        | MoveMountFlags::MOVE_MOUNT_T_AUTOMOUNTS
        | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    if !known.contains(flags) {
        return Ok(Verdict::Continue);
    }
    let by_descriptor = flags.contains(MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    let Some(mounter) = Mounter::enter(call)? else { return Ok(Verdict::Continue) };
    let Some(mount) = named(call, &mounter, table, by_descriptor) else {
        let is_left = mounter.is_capable || !grants.helps(&mounter);
        return if is_left { Ok(Verdict::Continue) } else { attached::relocate(call, &mounter, flags) };
    };
    if mount.namespace != number(&mounter.namespace)? {
        return refuse(call, "the mount is for another mount namespace");
    }
    let path = call.memory().path(call.arg(3))?;
    call.note(|noted| {
        noted.path(&path).because("mounted for the container");
    });
    let mut lookup = AtFlags::empty();
    lookup.set(AtFlags::EMPTY_PATH, flags.contains(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH));
    lookup.set(AtFlags::SYMLINK_NOFOLLOW, !flags.contains(MoveMountFlags::MOVE_MOUNT_T_SYMLINKS));
    let target = mounter.caller.target(call.int_arg(2), &path, lookup)?;
    let ours = Ours::of(call, &mounter)?;
    let target = mounter.caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |scene| scene.open_mount_point(&target),
    )?;
    // Of two who move it, the first does.
    if !table.take_mount(&mount) {
        return Err(Errno::INVAL.into());
    }
    match ours.attach(call, &mounter.namespace, &mount.file, &target, Vec::new(), mount.made) {
        Ok(()) => Ok(Verdict::Return(0)),
        // Unmounted again: nobody can move it any more.
        Err(gone @ Failure::Act(Error::Gone)) => Err(gone),
        Err(refused) => {
            table.put_back(mount);
            Err(refused)
        }
    }
}

/// The detached mount that the call names by a descriptor and an empty path, its first arguments.
fn named(
    call: &Call<'_>,
    mounter: &Mounter,
    table: &Table,
    by_descriptor: bool,
) -> Option<Arc<DetachedMount>> {
    let root = if by_descriptor { descriptor(&mounter.caller, call.int_arg(0))? } else { return None };
    let mount = table.mount(root).filter(|mount| mount.made.is_for(mounter))?;
    // Null is empty as well, since Linux 6.11.
    let path = call.memory().optional_c_string(call.arg(1), 2);
    let is_empty = path.is_ok_and(|path: Option<CString>| path.is_none_or(|path| path.is_empty()));
    is_empty.then_some(mount)
}

/// `struct mount_attr`.
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
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
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Failure> {
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

    /// What of it is done. What the mount `keeps` is not cleared, and that is no error: as in the options of
    /// `mount(2)`, `dev` and `exec` have no effect then.
    pub(super) fn permitted(&self, keeps: MountAttrFlags) -> Result<(MountAttrFlags, MountAttrFlags), Errno> {
        if (self.set | self.clear) & ID_MAPPED != 0 {
            return Err(Errno::PERM);
        }
        if !PROPAGATIONS.contains(&self.propagation) {
            return Err(Errno::PERM);
        }
        let flags = |bits: u64| u32::try_from(bits).map_err(|_| Errno::INVAL);
        let set = MountAttrFlags::from_bits_retain(flags(self.set)?);
        let clear = MountAttrFlags::from_bits_retain(flags(self.clear)?);
        Ok((set, clear.difference(keeps)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(set: u64, clear: u64, propagation: u64) -> Result<(u32, u32), Errno> {
        let permitted =
            Attributes { set, clear, propagation }.permitted(MountAttrFlags::from_bits_retain(0xe));
        permitted.map(|(set, clear)| (set.bits(), clear.bits()))
    }

    #[test]
    fn what_a_mount_keeps_is_never_cleared() {
        assert_eq!(permitted(0, 0xf, 0), Ok((0, 1)));
        assert_eq!(permitted(1, 0x7e, 1 << 18), Ok((1, 0x70)));
    }

    #[test]
    fn mapped_ids_shared_mounts_and_unknown_bits_are_refused() {
        assert_eq!(permitted(ID_MAPPED, 0, 0), Err(Errno::PERM));
        assert_eq!(permitted(0, ID_MAPPED, 0), Err(Errno::PERM));
        assert_eq!(permitted(0, 0, 1 << 20), Err(Errno::PERM));
        assert_eq!(permitted(0, 0, 1 << 17), Err(Errno::PERM));
        assert_eq!(permitted(1 << 40, 0, 0), Err(Errno::INVAL));
    }
}
