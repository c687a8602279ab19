use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use seccomp_agent_nsenter::{Capabilities, Mounted};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::mounter::Mounter;
use super::ours::{Ours, check_place};
use super::request::Request;
use super::table;
use crate::emulate::Failure;

/// `mount(2)` with `MS_MOVE`.
pub(super) fn move_by_path(
    call: &Call<'_>,
    mounter: &Mounter,
    request: &Request,
) -> Result<Verdict, Failure> {
    let source = request.source.as_deref().filter(|source| !source.is_empty()).ok_or(Errno::INVAL)?;
    let (source, target) = mounter.caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |scene| {
            let target = scene.mount_point(&request.target, OFlags::empty())?;
            Ok((scene.mount_point(source, OFlags::empty())?, target))
        },
    )?;
    move_attached(call, mounter, &source, &target)
}

/// Moves a mount that was made for the container, with all that is mounted on it. Others continue.
pub(super) fn move_attached(
    call: &Call<'_>,
    mounter: &Mounter,
    source: &OwnedFd,
    target: &OwnedFd,
) -> Result<Verdict, Failure> {
    let place = Mounted::of(source)?;
    if !place.is_root {
        return Err(Errno::INVAL.into());
    }
    let Some(ours) = Ours::known(&mounter.namespace)? else { return Ok(Verdict::Continue) };
    // Nobody unmounts meanwhile.
    let all = ours.lock();
    if !all.iter().any(|made| made.is(place) && made.is_for(mounter)) {
        return Ok(Verdict::Continue);
    }
    call.note(|noted| {
        noted.because("mounted for the container");
    });
    check_place(call, &table::parse(&mounter.namespace.table()?), target)?;
    call.check_valid()?;
    mounter.namespace.move_mount(source, target)?;
    Ok(Verdict::Return(0))
}
