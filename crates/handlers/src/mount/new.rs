use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxFlags, statx};
use rustix::mount::{
    FsMountFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount,
};
use seccomp_agent_nsenter::{Mounted, Scene, call_while};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::device::{Device, complete};
use super::file_system::{FileSystem, FileSystemGrant, MountOption, attributes, whole_flags};
use super::fuse::Fuse;
use super::layers::Layers;
use super::mounter::Mounter;
use super::note;
use super::ours::{Made, Origin, Ours};
use super::request::Request;
use super::setting::Setting;
use crate::emulate::Failure;

/// Mounts a file system that is granted, made as the caller, in the caller's namespaces.
pub(super) fn mount_new(
    call: &Call<'_>,
    mounter: &Mounter,
    grant: &FileSystemGrant,
    request: &Request,
) -> Result<Verdict, Failure> {
    note(call, request, "listed");
    let (kind, namespace) = (grant.kind, &mounter.namespace);
    let ours = Ours::of(call, mounter)?;
    let options = grant.vet(request.options.as_deref().unwrap_or_default());
    let setting = match Setting::of(call, mounter, &ours, kind) {
        // An agent that may not look into the namespace: the caller can do without it.
        Err(failure) if mounter.is_capable && failure.is_ours() => return Ok(Verdict::Continue),
        setting => setting?,
    };
    if setting.is_left_to_the_kernel(mounter) {
        return Ok(Verdict::Continue);
    }
    let mut options = options.inspect_err(|_| {
        call.note(|noted| {
            noted.because("an option that is not listed, or may not have this value");
        });
    })?;
    complete(kind, mounter, &mut options);
    if setting.is_processes_only {
        options.retain(|option| option.key.as_c_str() != c"subset");
    }
    let fuse = match kind {
        FileSystem::Fuse => Some(Fuse::find(call, mounter, request, &options)?),
        _ => None,
    };
    let layers = match kind {
        FileSystem::Overlay => Some(Layers::find(call, mounter, &options)?),
        _ => None,
    };
    let of_layers = layers.as_ref().map_or(MountAttrFlags::empty(), |layers| layers.forced);
    let device =
        if kind.is_on_a_device() { Some(Device::find(call, mounter, grant, request)?) } else { None };
    let of_device = match &device {
        Some(device) if !device.is_writable => MountAttrFlags::MOUNT_ATTR_RDONLY,
        _ => MountAttrFlags::empty(),
    };
    let forced = kind.forced(grant.allow) | setting.forced() | of_layers | of_device;
    let asked = attributes(request.flags);
    let attributes = setting.first(asked, forced);
    let new = New { options, flags: request.flags, attributes, layers, device, fuse, setting };
    let (mount, target) = new.setting.act(
        call,
        mounter,
        |scene| scene.mount_point(&request.target, OFlags::empty()),
        |scene, target| {
            let context = new.open(scene, request)?;
            if new.fuse.is_some() {
                return Ok((context, target));
            }
            let mount = new.make(scene, &context)?;
            check_target(&mount, &target)?;
            Ok((mount, target))
        },
    )?;
    let mount = if new.fuse.is_some() {
        let mount = new.make_answered_for(call, &mount)?;
        check_target(&mount, &target)?;
        mount
    } else {
        mount
    };
    let (mount, is_locked) = new.setting.cover(call, mounter, mount, asked)?;
    let made = Made { is_locked, ..Made::of(Origin::FileSystem(kind), forced) };
    let made = Made { needs_sys_admin: grant.needs_sys_admin, ..made };
    ours.attach(call, namespace, &mount, &target, new.setting.lines, made)?;
    Ok(Verdict::Return(0))
}

/// All that is known before acting.
struct New {
    options: Vec<MountOption>,
    flags: MountFlags,
    attributes: MountAttrFlags,
    layers: Option<Layers>,
    device: Option<Device>,
    fuse: Option<Fuse>,
    setting: Setting,
}

impl New {
    /// While acting: opens a context and says all that there is to say.
    fn open(&self, scene: &Scene<'_>, request: &Request) -> Result<OwnedFd, Errno> {
        let context = self.setting.open_context(scene)?;
        if let Some(source) = request.source.as_deref() {
            fsconfig_set_string(context.as_fd(), c"source", source)?;
        }
        if self.setting.kind.is_new() {
            whole_flags(self.flags).try_for_each(|flag| fsconfig_set_flag(context.as_fd(), flag))?;
        }
        self.configure(context.as_fd())?;
        Ok(context)
    }

    /// While acting: makes the mount.
    fn make(&self, scene: &Scene<'_>, context: &OwnedFd) -> Result<OwnedFd, Errno> {
        let context_fd = context.as_fd();
        match (&self.layers, &self.device) {
            (Some(layers), _) => layers.create(scene, context_fd)?,
            (None, Some(device)) => scene.beside_device(&device.alone, || fsconfig_create(context_fd))?,
            (None, None) => fsconfig_create(context_fd)?,
        }
        self.mount(context)
    }

    /// Makes the mount of what a program answers for. It may have asked the kernel to wait for its first answer (Linux
    /// 6.18), which it need not give: that ends when it does.
    fn make_answered_for(&self, call: &Call<'_>, context: &OwnedFd) -> Result<OwnedFd, Errno> {
        call_while(|| call.is_valid(), || fsconfig_create(context.as_fd()))?;
        self.mount(context)
    }

    fn mount(&self, context: &OwnedFd) -> Result<OwnedFd, Errno> {
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)
    }

    fn configure(&self, context: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(fuse) = &self.fuse {
            fuse.configure(context)?;
        }
        let plain = self
            .options
            .iter()
            .filter(|option| !Layers::has(option) && !Fuse::has(self.setting.kind, option));
        plain.into_iter().try_for_each(|option| match &option.value {
            Some(value) => fsconfig_set_string(context, &option.key, value),
            None => fsconfig_set_flag(context, &option.key),
        })
    }
}

/// What `mount(2)` refuses, and `move_mount(2)` does not or with another error.
fn check_target(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    // Neither file system is asked: whoever answers for it may be who waits for this call.
    let ask = |file, what| statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, what);
    let is_directory = |stat: &Statx| FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
    let (new, on) = (ask(mount, StatxFlags::empty())?, ask(target, StatxFlags::TYPE)?);
    // One of FUSE that is not for us does not say what its root is; almost all are directories.
    let has_directory = ask(mount, StatxFlags::TYPE).as_ref().map_or(true, is_directory);
    if is_directory(&on) != has_directory {
        return Err(Errno::NOTDIR);
    }
    // The same file system twice in one place.
    let is_same = (new.stx_dev_major, new.stx_dev_minor) == (on.stx_dev_major, on.stx_dev_minor);
    if is_same && Mounted::of(target)?.is_root { Err(Errno::BUSY) } else { Ok(()) }
}
