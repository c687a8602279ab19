use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::mount::{
    FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags, fsconfig_reconfigure, fsconfig_set_flag,
    fsconfig_set_string, fspick,
};
use seccomp_agent_nsenter::{Caller, Capabilities, Change, Error, Mounted};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::file_system::{FileSystem, FileSystemGrant, MountOption, attributes, whole_flags};
use super::layers::Layers;
use super::mounter::Mounter;
use super::ours::{Made, Origin, Ours};
use super::request::Request;
use super::{note, refuse};
use crate::emulate::Failure;

/// Changes a mount that was made for the container, and unless it is `mount_only` its file system, if that is
/// nobody else's. All others continue.
pub(super) fn remount(
    call: &Call<'_>,
    mounter: &Mounter,
    grants: &[FileSystemGrant],
    request: &Request,
    mount_only: bool,
) -> Result<Verdict, Failure> {
    let Some((root, found)) = find(call, &mounter.caller, request)? else { return Ok(Verdict::Continue) };
    let Some(ours) = Ours::known(&mounter.namespace)? else { return Ok(Verdict::Continue) };
    let all = ours.lock();
    let made = all.iter().find(|made| made.is(found) && made.is_for(mounter));
    let Some(made) = made else { return Ok(Verdict::Continue) };
    note(call, request, "mounted for the container");
    let asked = attributes(request.flags);
    if (made.kept - asked).contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
        return refuse(call, "it has to stay read-only");
    }
    if !mount_only {
        match grants.iter().find(|grant| made.of == Origin::FileSystem(grant.kind)) {
            Some(grant) if grant.kind.is_on_a_device() && mounter.is_foreign() => {
                return refuse(call, "the file system is of the host's user namespace");
            }
            Some(grant) if grant.kind.is_new() => reconfigure(call, mounter, grant, request, &root)?,
            Some(_) => {}
            None => return refuse(call, "the file system is not the container's own"),
        }
    }
    call.check_valid()?;
    mounter.namespace.change(&root, change(request.flags, made))?;
    Ok(Verdict::Return(0))
}

/// Changes the propagation of a mount that was made for the container, but not so that others see what is mounted
/// on it.
pub(super) fn propagate(
    call: &Call<'_>,
    mounter: &Mounter,
    request: &Request,
    propagation: MountPropagationFlags,
) -> Result<Verdict, Failure> {
    let is_one = propagation.bits().is_power_of_two();
    if !is_one || propagation == MountPropagationFlags::SHARED {
        return Ok(Verdict::Continue);
    }
    let Some((root, found)) = find(call, &mounter.caller, request)? else { return Ok(Verdict::Continue) };
    let Some(ours) = Ours::known(&mounter.namespace)? else { return Ok(Verdict::Continue) };
    let all = ours.lock();
    if !all.iter().any(|made| made.is(found) && made.is_for(mounter)) {
        return Ok(Verdict::Continue);
    }
    note(call, request, "mounted for the container");
    call.check_valid()?;
    mounter.namespace.change(&root, Change::Propagation(propagation))?;
    Ok(Verdict::Return(0))
}

/// What the path leads to; nothing where it leads nowhere, which the kernel finds again.
fn find(call: &Call<'_>, caller: &Caller, request: &Request) -> Result<Option<(OwnedFd, Mounted)>, Failure> {
    let found = caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |scene| scene.mount_point(&request.target, OFlags::empty()),
    );
    match found {
        Ok(root) => {
            // As ourselves: what is known of a mount may depend on who asks.
            let mounted = Mounted::of(&root)?;
            if mounted.is_root { Ok(Some((root, mounted))) } else { Err(Errno::INVAL.into()) }
        }
        Err(Error::Call(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn reconfigure(
    call: &Call<'_>,
    mounter: &Mounter,
    grant: &FileSystemGrant,
    request: &Request,
    root: &OwnedFd,
) -> Result<(), Failure> {
    let options = match grant.kind {
        // It takes any, and changes nothing.
        FileSystem::Fuse => Vec::new(),
        _ => grant.vet(request.options.as_deref().unwrap_or_default())?,
    };
    // Neither of these is changed by a remount; `subset` is what a container without a procfs is given one with.
    if options.iter().any(|option| Layers::has(option) || option.key.as_c_str() == c"subset") {
        return Err(Errno::INVAL.into());
    }
    let workplace = mounter.workplace()?;
    mounter.caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |scene| {
            workplace.as_ref().map_or(Ok(()), |namespace| scene.join(namespace))?;
            let pick = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let context = fspick(root, c"", pick)?;
            let set = |flag| fsconfig_set_flag(context.as_fd(), flag);
            // All are replaced.
            [c"rw", c"async", c"nolazytime"].into_iter().try_for_each(set)?;
            whole_flags(request.flags).filter(|flag| *flag != c"dirsync").try_for_each(set)?;
            options.iter().try_for_each(|MountOption { key, value }| match value {
                Some(value) => fsconfig_set_string(context.as_fd(), key, value),
                None => fsconfig_set_flag(context.as_fd(), key),
            })?;
            fsconfig_reconfigure(context.as_fd())
        },
    )?;
    Ok(())
}

/// As `mount(2)` has it: all attributes are replaced, those of access times only by others.
fn change(flags: MountFlags, made: &Made) -> Change {
    let attributes_of_times =
        MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
    let times = MountAttrFlags::MOUNT_ATTR__ATIME | MountAttrFlags::MOUNT_ATTR_NODIRATIME;
    let all = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
    let mut set = attributes(flags) | made.kept;
    let mut clear = all - set;
    if flags.intersects(attributes_of_times) {
        // Those of access times are a number, all of which has to be cleared.
        clear |= (times - set) | MountAttrFlags::MOUNT_ATTR__ATIME;
    } else {
        set -= times;
    }
    Change::Attributes { set, clear }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::file_system::FileSystem;

    #[test]
    fn what_is_forced_stays_and_times_change_only_if_asked() {
        let kept = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let made = Made::of(Origin::FileSystem(FileSystem::Tmpfs), kept);
        let Change::Attributes { set, clear } = change(MountFlags::RDONLY, &made) else { panic!() };
        assert_eq!(set, kept | MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert!(!clear.intersects(set) && clear.contains(MountAttrFlags::MOUNT_ATTR_NODEV));
        assert!(!clear.intersects(MountAttrFlags::MOUNT_ATTR__ATIME));
        let Change::Attributes { set, clear } = change(MountFlags::NOATIME, &made) else { panic!() };
        assert_eq!(set, kept | MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert!(clear.contains(MountAttrFlags::MOUNT_ATTR__ATIME | MountAttrFlags::MOUNT_ATTR_NODIRATIME));
    }
}
