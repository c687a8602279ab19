use rustix::fs::{AtFlags, Mode, OFlags, openat};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::attached::{NO_AUTOMOUNT, RECURSIVE};
use super::table::Table;
use super::{BY_MOUNT, give};
use crate::emulate::Failure;
use crate::mount::bind::{copy, is_folder};
use crate::mount::mounter::Mounter;
use crate::mount::ours::Ours;

/// `OPEN_TREE_CLONE`: without it, all there is to it is to open something.
const CLONE: i32 = 1;

/// `open_tree(2)` with `OPEN_TREE_CLONE`, of a directory: a bind that is not attached yet. Of anything else there is
/// nothing that a descriptor of it could be opened for, so `mount(2)` has to be asked (ENOSYS).
pub(super) fn clone(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let flags = call.int_arg(2);
    let closes_on_exec = flags & OFlags::CLOEXEC.bits().cast_signed() != 0;
    let lookup = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let other = flags & !(CLONE | RECURSIVE | NO_AUTOMOUNT | OFlags::CLOEXEC.bits().cast_signed());
    let other = AtFlags::from_bits_retain(other.cast_unsigned());
    if flags & CLONE == 0 || !lookup.contains(other) {
        return Ok(Verdict::Continue);
    }
    let Some(mounter) = Mounter::enter_incapable(call)? else { return Ok(Verdict::Continue) };
    let path = call.memory().path(call.arg(1))?;
    call.note(|noted| {
        noted.asks(format_args!("source={path:?}")).because("binds are granted");
    });
    let target = mounter.caller.target(call.int_arg(0), &path, other)?;
    let (is_valid, nothing) = (|| call.is_valid(), Capabilities::empty());
    let source = mounter.caller.act(is_valid, nothing, |scene| scene.open_mount_point(&target))?;
    if !is_folder(&source)? {
        call.note(|noted| {
            noted.because(BY_MOUNT);
        });
        return Err(Errno::NOSYS.into());
    }
    let ours = Ours::of(call, &mounter)?;
    let (mount, made) = copy(call, &mounter, &ours, &source, flags & RECURSIVE != 0)?;
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = mounter.caller.act(is_valid, nothing, |_| openat(&mount, c".", folder, Mode::empty()))?;
    give(call, table, &mounter, mount, made, &root, closes_on_exec)
}
