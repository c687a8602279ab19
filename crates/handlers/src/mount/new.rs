use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::mount::{
    FsMountFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount,
};
use seccomp_agent_nsenter::{Caller, Capabilities, MountNamespace, Mounted, Scene};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::file_system::{FileSystem, FileSystemGrant, MountOption, attributes, whole_flags};
use super::layers::Layers;
use super::ours::{Made, Origin, Ours};
use super::request::Request;
use super::setting::Setting;
use crate::emulate::Failure;

/// Mounts a file system that is granted, made as the caller, in the caller's namespaces.
pub(super) fn mount_new(
    call: &Call<'_>,
    caller: &Caller,
    namespace: &MountNamespace,
    grant: &FileSystemGrant,
    request: &Request,
) -> Result<Verdict, Failure> {
    let kind = grant.kind;
    let ours = Ours::of(call, namespace)?;
    let mut new = New::prepare(call, caller, namespace, &ours, grant, request)?;
    let layers = match kind {
        FileSystem::Overlay => Some(Layers::find(call, caller, namespace, &new.options)?),
        _ => None,
    };
    new.forced |= layers.as_ref().map_or(MountAttrFlags::empty(), |layers| layers.forced);
    let (mount, target) = caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |scene| new.make(scene, request, layers.as_ref()),
    )?;
    let (mount, is_locked) = new.setting.cover(mount, namespace)?;
    let made = Made { is_locked, ..Made::of(Origin::FileSystem(kind), new.forced) };
    ours.attach(call, namespace, &mount, &target, new.setting.lines, made)?;
    Ok(Verdict::Return(0))
}

/// All that is known before acting.
struct New {
    kind: FileSystem,
    options: Vec<MountOption>,
    flags: MountFlags,
    forced: MountAttrFlags,
    setting: Setting,
}

impl New {
    fn prepare(
        call: &Call<'_>,
        caller: &Caller,
        namespace: &MountNamespace,
        ours: &Ours,
        grant: &FileSystemGrant,
        request: &Request,
    ) -> Result<Self, Failure> {
        let kind = grant.kind;
        let mut options = grant.vet(request.options.as_deref().unwrap_or_default())?;
        let setting = Setting::of(call, caller, namespace, ours, kind)?;
        if setting.is_processes_only {
            options.retain(|option| option.key.as_c_str() != c"subset");
        }
        let forced = kind.forced(grant.allow) | setting.forced();
        Ok(Self { kind, options, flags: request.flags, forced, setting })
    }

    /// While acting: makes the mount, and finds where it is to be attached.
    fn make(
        &self,
        scene: &Scene<'_>,
        request: &Request,
        layers: Option<&Layers>,
    ) -> Result<(OwnedFd, OwnedFd), Errno> {
        let target = scene.mount_point(&request.target, OFlags::empty())?;
        self.setting.enter(scene)?;
        let context = self.setting.open_context(scene)?;
        if let Some(source) = request.source.as_deref() {
            fsconfig_set_string(context.as_fd(), c"source", source)?;
        }
        if self.kind.is_new() {
            whole_flags(self.flags).try_for_each(|flag| fsconfig_set_flag(context.as_fd(), flag))?;
        }
        self.configure(context.as_fd())?;
        if let Some(layers) = layers {
            layers.configure(context.as_fd())?;
        }
        fsconfig_create(context.as_fd())?;
        let attributes = attributes(self.flags) | self.forced;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        check_target(&mount, &target)?;
        Ok((mount, target))
    }

    fn configure(&self, context: BorrowedFd<'_>) -> Result<(), Errno> {
        let plain = self.options.iter().filter(|option| !Layers::has(option));
        plain.into_iter().try_for_each(|option| match &option.value {
            Some(value) => fsconfig_set_string(context, &option.key, value),
            None => fsconfig_set_flag(context, &option.key),
        })
    }
}

/// What `mount(2)` refuses, and `move_mount(2)` does not or with another error.
fn check_target(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let (new, on) = (fstat(mount)?, fstat(target)?);
    if FileType::from_raw_mode(on.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    // The same file system twice in one place.
    if new.st_dev == on.st_dev && Mounted::of(target)?.is_root { Err(Errno::BUSY) } else { Ok(()) }
}
