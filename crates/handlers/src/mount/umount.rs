use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;
use seccomp_agent_nsenter::{Capabilities, Error, Mounted};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::mounter::Mounter;
use super::ours::{Ours, forget_below};
use super::table;
use crate::emulate::Failure;

/// `umount2(2)`, and `umount(2)`, which has no flags: of a mount that was made for the container. Everything else
/// continues, errors included: the kernel finds them again.
pub(super) fn unmount(call: &Call<'_>, mounter: &Mounter) -> Result<Verdict, Failure> {
    let namespace = &mounter.namespace;
    let known = Ours::known(&mounter.namespace)?;
    if mounter.is_capable && known.is_none() {
        return Ok(Verdict::Continue);
    }
    let has_flags = call.syscall().name() != Some("umount");
    #[allow(clippy::cast_sign_loss)] // Flags.
    let bits = if has_flags { call.int_arg(1) as u32 } else { 0 };
    let Some(flags) = UnmountFlags::from_bits(bits) else { return Ok(Verdict::Continue) };
    let target = call.memory().path(call.arg(0))?;
    let follow = if flags.contains(UnmountFlags::NOFOLLOW) { OFlags::NOFOLLOW } else { OFlags::empty() };
    let found = mounter.caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |scene| scene.mount_point(&target, follow),
    );
    let found = match found {
        // As ourselves: what is known of a mount may depend on who asks.
        Ok(found) => Mounted::of(found)?,
        Err(Error::Call(_)) => return Ok(Verdict::Continue),
        Err(other) => return Err(other.into()),
    };
    if !found.is_root {
        return if mounter.is_capable { Ok(Verdict::Continue) } else { Err(Errno::INVAL.into()) };
    }
    let Some(ours) = known else { return Ok(Verdict::Continue) };
    // Nobody unmounts meanwhile: what comes to light in its place may be no mount of ours.
    let mut made = ours.lock();
    let index = made.iter().position(|made| made.is(found) && made.is_for(mounter));
    let Some(index) = index else { return Ok(Verdict::Continue) };
    call.note(|noted| {
        noted.path(&target).asks(format_args!("flags={bits:#x}")).because("mounted for the container");
    });
    let lines = table::parse(&namespace.table()?);
    let this = made[index];
    let at = lines.iter().find(|line| line.number == this.id.number).and_then(table::Line::path);
    let Some(at) = at else { return Ok(Verdict::Continue) };
    let has_others = lines
        .iter()
        .any(|line| line.parent == this.id.number && made.iter().any(|made| made.id.number == line.number));
    let is_asked_again = flags == UnmountFlags::EXPIRE && this.is_expiring;
    let flags = if is_asked_again {
        // The kernel's own mark is lost whenever somebody looks, as we do.
        UnmountFlags::empty()
    } else if this.is_locked && !has_others && !flags.contains(UnmountFlags::EXPIRE) {
        // What is locked on it makes it busy for ever. It cannot be parted from that, so it is let go as a whole.
        flags | UnmountFlags::DETACH
    } else {
        flags
    };
    call.check_valid()?;
    let unmounted = namespace.unmount(&at, this.id, flags);
    made[index].is_expiring = unmounted == Err(Error::Call(Errno::AGAIN));
    unmounted?;
    made.swap_remove(index);
    if flags.contains(UnmountFlags::DETACH) {
        forget_below(&mut made, this.id.number, &lines);
    }
    Ok(Verdict::Return(0))
}
