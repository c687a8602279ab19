use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use seccomp_agent_nsenter::{
    Caller, Capabilities, Extent, MountNamespace, Mounted, Namespace, PidNamespace, Scene, lock_tree,
};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::covers::Covers;
use super::file_system::{FileSystem, FileSystemGrant, MountOption, attributes, whole_flags};
use super::layers::Layers;
use super::ours::{Made, Origin, Ours};
use super::refuse;
use super::request::Request;
use super::table;
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
    let is_locked = new.covers.as_ref().is_some_and(|covers| !covers.is_empty());
    let mount = match &new.covers {
        Some(covers) if is_locked => lock_tree(mount, &covers.copy(namespace)?, Extent::Tree)?,
        _ => mount,
    };
    let made = Made { is_locked, ..Made::of(Origin::FileSystem(kind), new.forced) };
    ours.attach(call, namespace, &mount, &target, made)?;
    Ok(Verdict::Return(0))
}

/// All that is known before acting.
struct New {
    kind: FileSystem,
    options: Vec<MountOption>,
    flags: MountFlags,
    forced: MountAttrFlags,
    covers: Option<Covers>,
    pids: Option<PidNamespace>,
    pids_by_option: bool,
    depends_on: Option<Namespace>,
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
        let mut forced = kind.forced(grant.allow);
        let depends_on = kind.namespace().map(|needed| caller.namespace(needed)).transpose()?;
        if kind == FileSystem::Cgroup2 && depends_on.as_ref().is_some_and(Namespace::is_ours) {
            // Those of the whole machine.
            return refuse(call, "the container has no cgroup namespace of its own");
        }
        let mut covers = None;
        if kind.is_of_the_kernel() {
            let own = ours.numbers();
            let lines = table::parse(&namespace.table()?);
            covers = Covers::of(kind, &lines, |number| own.contains(&number));
            match &covers {
                Some(covers) if covers.read_only => forced |= MountAttrFlags::MOUNT_ATTR_RDONLY,
                Some(_) => {}
                // Nobody can tell what of it the container may see but its own processes.
                None if kind == FileSystem::Proc => {
                    options.retain(|option| option.key.as_c_str() != c"subset");
                    options.push(MountOption { key: c"subset".into(), value: Some(c"pid".into()) });
                }
                None => return refuse(call, "the container has none of its own"),
            }
        }
        let pids = (kind == FileSystem::Proc).then(|| caller.pid_namespace()).transpose()?;
        let pids_by_option = call.features().proc_pidns;
        Ok(Self { kind, options, flags: request.flags, forced, covers, pids, pids_by_option, depends_on })
    }

    /// While acting: makes the mount, and finds where it is to be attached.
    fn make(
        &self,
        scene: &Scene<'_>,
        request: &Request,
        layers: Option<&Layers>,
    ) -> Result<(OwnedFd, OwnedFd), Errno> {
        let target = scene.mount_point(&request.target, OFlags::empty())?;
        if let Some(namespace) = &self.depends_on {
            scene.join(namespace)?;
        }
        let context = match &self.pids {
            Some(pids) => scene.open_procfs(pids, self.pids_by_option)?,
            None => fsopen(self.kind.name(), FsOpenFlags::FSOPEN_CLOEXEC)?,
        };
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
