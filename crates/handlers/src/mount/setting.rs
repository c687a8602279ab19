use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{FsOpenFlags, MountAttrFlags, fsconfig_set_string, fsopen};
use seccomp_agent_nsenter::{
    Capabilities, Error, Extent, Namespace, PidNamespace, Scene, change_detached_mount, lock_tree,
};
use seccomp_agent_registry::{Call, Errno};

use super::covers::Covers;
use super::file_system::FileSystem;
use super::mounter::Mounter;
use super::ours::Ours;
use super::refuse;
use super::table::{self, Line};
use crate::emulate::Failure;

/// Of which namespaces a new file system is, and what of it a container is not to see: the same for one that is
/// mounted by one call and for one that is mounted step by step.
pub(super) struct Setting {
    pub(super) kind: FileSystem,
    pids: Option<PidNamespace>,
    pids_by_option: bool,
    depends_on: Option<Namespace>,
    /// Whether it is made for a caller in a user namespace of its own.
    is_foreign: bool,
    covers: Option<Covers>,
    /// The mounts of the namespace, where they have been read.
    pub(super) lines: Vec<Line>,
    /// Whether nobody can tell what of it the container may see but its own processes.
    pub(super) is_processes_only: bool,
}

impl Setting {
    /// That of a caller. EPERM for what a container has none of, and for what is not its user namespace's.
    pub(super) fn of(
        call: &Call<'_>,
        mounter: &Mounter,
        ours: &Ours,
        kind: FileSystem,
    ) -> Result<Self, Failure> {
        let (caller, is_foreign) = (&mounter.caller, mounter.is_foreign());
        let depends_on = kind.namespace().map(|needed| caller.namespace(needed)).transpose()?;
        if kind == FileSystem::Cgroup2 && depends_on.as_ref().is_some_and(Namespace::is_ours) {
            // Those of the whole machine.
            return refuse(call, "the container has no cgroup namespace of its own");
        }
        let (mut lines, mut covers) = (Vec::new(), None);
        if kind.is_of_the_kernel() {
            let own = ours.numbers();
            lines = table::parse(&mounter.namespace.table()?);
            covers = Covers::of(kind, &lines, |number| own.contains(&number));
            // What it is limited to when it is made, whoever it belongs to can take off by a remount.
            if covers.is_none() && (kind != FileSystem::Proc || is_foreign) {
                return refuse(call, "the container has none of its own");
            }
        }
        let pids = (kind == FileSystem::Proc).then(|| caller.pid_namespace()).transpose()?;
        if is_foreign {
            let shown = pids.as_ref().map(|pids| caller.owns(pids)).transpose()?;
            let others = depends_on.as_ref().map(|namespace| caller.owns(namespace)).transpose()?;
            if shown == Some(false) || others == Some(false) {
                return refuse(call, "it would show a namespace that is not of the caller's user namespace");
            }
        }
        let depends_on = match depends_on {
            None if pids.is_none() && !kind.is_on_a_device() => mounter.workplace()?,
            some => some,
        };
        let is_processes_only = kind == FileSystem::Proc && covers.is_none();
        let pids_by_option = call.features().proc_pidns;
        Ok(Self { kind, pids, pids_by_option, depends_on, is_foreign, covers, lines, is_processes_only })
    }

    /// Whether a user namespace in which the caller has all rights is enough for what it asks for: the kernel hides
    /// nothing of it from anybody there.
    pub(super) fn is_left_to_the_kernel(&self, mounter: &Mounter) -> bool {
        let hides = self.covers.as_ref().is_some_and(|covers| covers.read_only || !covers.is_empty());
        mounter.is_capable && !hides && !self.kind.is_on_a_device()
    }

    /// Attributes that the mount has besides those of its kind.
    pub(super) fn forced(&self) -> MountAttrFlags {
        match &self.covers {
            Some(covers) if covers.read_only => MountAttrFlags::MOUNT_ATTR_RDONLY,
            _ => MountAttrFlags::empty(),
        }
    }

    /// Looks something up as the caller, and has `deed` make or configure the file system where and as whom it has to
    /// be made: as the caller as far as possible. What belongs to the owner of a namespace that it shows belongs to
    /// that, whoever makes it; what belongs to whoever makes it is made by a helper where the caller has a user
    /// namespace of its own. Some look at the namespaces of whoever makes them again: in the initial one, cgroup2
    /// takes its options for those of the whole machine.
    pub(super) fn act<P, T>(
        &self,
        call: &Call<'_>,
        mounter: &Mounter,
        find: impl FnOnce(&Scene<'_>) -> Result<P, Errno>,
        deed: impl FnOnce(&Scene<'_>, P) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let (is_valid, granted) = (|| call.is_valid(), Capabilities::SYS_ADMIN);
        let there = |scene: &Scene<'_>, found| {
            self.depends_on.as_ref().map_or(Ok(()), |namespace| scene.join(namespace))?;
            deed(scene, found)
        };
        if self.is_outside() {
            mounter.caller.act_outside(is_valid, granted, find, there)
        } else {
            mounter.caller.act(is_valid, granted, |scene| there(scene, find(scene)?))
        }
    }

    /// Whether it is made by a thread of ours for a caller in another user namespace.
    const fn is_outside(&self) -> bool {
        self.is_foreign && (self.kind.is_of_a_namespace() || self.kind.is_on_a_device())
    }

    /// While acting, and there: opens a context.
    pub(super) fn open_context(&self, scene: &Scene<'_>) -> Result<OwnedFd, Errno> {
        let context = match &self.pids {
            Some(pids) => scene.open_procfs(pids, self.pids_by_option)?,
            None => fsopen(self.kind.name(), FsOpenFlags::FSOPEN_CLOEXEC)?,
        };
        if self.is_processes_only {
            fsconfig_set_string(context.as_fd(), c"subset", c"pid")?;
        }
        Ok(context)
    }

    /// The attributes that a mount is made with, of those that are asked for: what is there when it is
    /// [covered](Self::cover) is there for good.
    pub(super) fn first(&self, asked: MountAttrFlags, forced: MountAttrFlags) -> MountAttrFlags {
        if self.is_locked() { (asked & !LATER) | forced } else { asked | forced }
    }

    /// The mount with everything covered that is to be, and the rest of what is asked for; and whether anything is
    /// covered: then it is locked. So is what the mount has of attributes in a user namespace of the caller's, where
    /// somebody may have the capability to change them. What is on a device has its ids mapped there: EPERM where the
    /// file system cannot.
    pub(super) fn cover(
        &self,
        call: &Call<'_>,
        mounter: &Mounter,
        mount: OwnedFd,
        asked: MountAttrFlags,
    ) -> Result<(OwnedFd, bool), Failure> {
        if !self.is_locked() {
            return Ok((mount, false));
        }
        if self.is_foreign && self.kind.is_on_a_device() {
            match mounter.caller.map_ids(&mount) {
                Err(Error::Call(Errno::INVAL)) => {
                    return refuse(call, "the file system cannot be mounted with ids of a user namespace");
                }
                mapped => mapped?,
            }
        }
        let namespace = &mounter.namespace;
        let covers = self.covers.as_ref().map_or(Ok(Vec::new()), |covers| covers.copy(namespace))?;
        let locked = lock_tree(mount, &covers, Extent::Tree)?;
        let later = asked & LATER;
        if !later.is_empty() {
            change_detached_mount(&locked, later, MountAttrFlags::empty())?;
        }
        Ok((locked, self.has_covers()))
    }

    fn has_covers(&self) -> bool {
        self.covers.as_ref().is_some_and(|covers| !covers.is_empty())
    }

    fn is_locked(&self) -> bool {
        self.has_covers() || self.is_outside()
    }
}

/// Attributes that can be set and cleared one by one.
const LATER: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
    .union(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);
