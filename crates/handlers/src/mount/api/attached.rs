//! The calls of these that are about mounts which were made for the container and are attached.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::mount::{FsPickFlags, MountPropagationFlags, MoveMountFlags, fspick};
use seccomp_agent_nsenter::{Capabilities, Change, Mounted};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::detached::Attributes;
use super::table::{Of, Table};
use super::{BY_MOUNT, hand_in};
use crate::emulate::Failure;
use crate::mount::mounter::Mounter;
use crate::mount::moving::move_attached;
use crate::mount::ours::{Made, Origin, Ours, number};
use crate::mount::{Mount, refuse, table as mounts};

/// `AT_RECURSIVE`, of `mount_setattr(2)` and `open_tree(2)`.
pub(super) const RECURSIVE: i32 = 0x8000;

/// `AT_NO_AUTOMOUNT`: nothing that a container has is mounted when it is looked at.
pub(super) const NO_AUTOMOUNT: i32 = 0x800;

/// `fspick(2)` of a file system that was made for the container, by a mount of it: a context to change it by.
pub(super) fn pick(call: &Call<'_>, table: &Table, mount: &Mount) -> Result<Verdict, Failure> {
    let flags = FsPickFlags::from_bits_retain(call.int_arg(2).cast_unsigned());
    let known = FsPickFlags::FSPICK_CLOEXEC
        | FsPickFlags::FSPICK_SYMLINK_NOFOLLOW
        | FsPickFlags::FSPICK_NO_AUTOMOUNT
        | FsPickFlags::FSPICK_EMPTY_PATH;
    let mounter = Mounter::enter_incapable(call)?.filter(|mounter| mount.helps(mounter));
    let Some(mounter) = mounter else { return Ok(Verdict::Continue) };
    if !known.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let mut lookup = AtFlags::empty();
    lookup.set(AtFlags::EMPTY_PATH, flags.contains(FsPickFlags::FSPICK_EMPTY_PATH));
    lookup.set(AtFlags::SYMLINK_NOFOLLOW, flags.contains(FsPickFlags::FSPICK_SYMLINK_NOFOLLOW));
    let root = find(call, &mounter, call.int_arg(0), call.arg(1), lookup)?;
    let Some((_, made)) = known_as(&mounter, &root)? else { return Ok(Verdict::Continue) };
    let grant = mount.file_systems.iter().find(|grant| made.of == Origin::FileSystem(grant.kind));
    let Some(grant) = grant else { return Ok(Verdict::Continue) };
    call.note(|noted| {
        noted.asks(format_args!("type={}", grant.kind.name().to_string_lossy()));
        noted.because("mounted for the container");
    });
    if grant.kind.is_on_a_device() {
        call.note(|noted| {
            noted.because(BY_MOUNT);
        });
        return Err(Errno::NOSYS.into());
    }
    let workplace = mounter.workplace()?;
    let context = mounter.caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |scene| {
            workplace.as_ref().map_or(Ok(()), |namespace| scene.join(namespace))?;
            fspick(&root, c"", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)
        },
    )?;
    let of = Of { kind: grant.kind, is_processes_only: false, is_picked: true };
    let handle = table.insert_context(context, of, number(&mounter.namespace)?)?;
    hand_in(call, handle.as_fd(), flags.contains(FsPickFlags::FSPICK_CLOEXEC))
}

/// `mount_setattr(2)` of a mount that is attached.
pub(super) fn change(call: &Call<'_>, mounter: &Mounter, may_propagate: bool) -> Result<Verdict, Failure> {
    let flags = call.int_arg(2);
    let lookup = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let lookup = AtFlags::from_bits_retain(flags.cast_unsigned()) & lookup;
    let root = find(call, mounter, call.int_arg(0), call.arg(1), lookup)?;
    let Some((ours, made)) = known_as(mounter, &root)? else { return Ok(Verdict::Continue) };
    let wanted = Attributes::read(call)?;
    call.note(|noted| {
        noted.asks(format_args!("set={:#x} clear={:#x}", wanted.set, wanted.clear));
        noted.because("mounted for the container");
    });
    let (set, clear) = wanted.permitted(made.kept)?;
    let propagation = u32::try_from(wanted.propagation).map_err(|_| Errno::PERM)?;
    if propagation != 0 && !may_propagate {
        return refuse(call, "propagation is not granted");
    }
    // Nobody changes or unmounts it meanwhile.
    let _all = ours.lock();
    if flags & RECURSIVE != 0 {
        let lines = mounts::parse(&mounter.namespace.table()?);
        if lines.iter().any(|line| line.parent == made.id.number) {
            return refuse(call, "there are mounts below, which have to keep what they have");
        }
    }
    call.check_valid()?;
    let namespace = &mounter.namespace;
    if !set.is_empty() || !clear.is_empty() {
        namespace.change(&root, Change::Attributes { set, clear })?;
    }
    if propagation != 0 {
        namespace.change(&root, Change::Propagation(MountPropagationFlags::from_bits_retain(propagation)))?;
    }
    Ok(Verdict::Return(0))
}

/// `move_mount(2)` of a mount that is attached.
pub(super) fn relocate(
    call: &Call<'_>,
    mounter: &Mounter,
    flags: MoveMountFlags,
) -> Result<Verdict, Failure> {
    let lookup = |by_descriptor, follows| {
        let mut lookup = AtFlags::empty();
        lookup.set(AtFlags::EMPTY_PATH, flags.contains(by_descriptor));
        lookup.set(AtFlags::SYMLINK_NOFOLLOW, !flags.contains(follows));
        lookup
    };
    let from = lookup(MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH, MoveMountFlags::MOVE_MOUNT_F_SYMLINKS);
    let to = lookup(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH, MoveMountFlags::MOVE_MOUNT_T_SYMLINKS);
    let source = find(call, mounter, call.int_arg(0), call.arg(1), from)?;
    let target = find(call, mounter, call.int_arg(2), call.arg(3), to)?;
    move_attached(call, mounter, &source, &target)
}

/// What a descriptor and a path lead to.
fn find(
    call: &Call<'_>,
    mounter: &Mounter,
    folder: i32,
    path: u64,
    lookup: AtFlags,
) -> Result<OwnedFd, Failure> {
    let path = if path == 0 && lookup.contains(AtFlags::EMPTY_PATH) {
        // As an empty one, since Linux 6.11.
        CString::default()
    } else {
        call.memory().path(path)?
    };
    let target = mounter.caller.target(folder, &path, lookup)?;
    let (is_valid, nothing) = (|| call.is_valid(), Capabilities::empty());
    Ok(mounter.caller.act(is_valid, nothing, |scene| scene.open_mount_point(&target))?)
}

/// What was made for the container, if a mount was that this is the root of; EINVAL if it is the root of none.
fn known_as(mounter: &Mounter, root: &OwnedFd) -> Result<Option<(Arc<Ours>, Made)>, Failure> {
    let place = Mounted::of(root)?;
    if !place.is_root {
        return Err(Errno::INVAL.into());
    }
    let Some(ours) = Ours::known(&mounter.namespace)? else { return Ok(None) };
    let made = ours.lock().iter().find(|made| made.is(place) && made.is_for(mounter)).copied();
    Ok(made.map(|made| (ours, made)))
}
