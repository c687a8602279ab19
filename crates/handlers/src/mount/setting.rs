use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{FsOpenFlags, MountAttrFlags, fsconfig_set_string, fsopen};
use seccomp_agent_nsenter::{Caller, Extent, MountNamespace, Namespace, PidNamespace, Scene, lock_tree};
use seccomp_agent_registry::{Call, Errno};

use super::covers::Covers;
use super::file_system::FileSystem;
use super::ours::Ours;
use super::refuse;
use super::table::{self, Line};
use crate::emulate::Failure;

/// Of which namespaces a new file system is, and what of it a container is not to see: the same for one that is
/// mounted by one call and for one that is mounted step by step.
pub(super) struct Setting {
    kind: FileSystem,
    pids: Option<PidNamespace>,
    pids_by_option: bool,
    depends_on: Option<Namespace>,
    covers: Option<Covers>,
    /// The mounts of the namespace, where they have been read.
    pub(super) lines: Vec<Line>,
    /// Whether nobody can tell what of it the container may see but its own processes.
    pub(super) is_processes_only: bool,
}

impl Setting {
    /// That of a caller. EPERM for what a container has none of.
    pub(super) fn of(
        call: &Call<'_>,
        caller: &Caller,
        namespace: &MountNamespace,
        ours: &Ours,
        kind: FileSystem,
    ) -> Result<Self, Failure> {
        let depends_on = kind.namespace().map(|needed| caller.namespace(needed)).transpose()?;
        if kind == FileSystem::Cgroup2 && depends_on.as_ref().is_some_and(Namespace::is_ours) {
            // Those of the whole machine.
            return refuse(call, "the container has no cgroup namespace of its own");
        }
        let (mut lines, mut covers) = (Vec::new(), None);
        if kind.is_of_the_kernel() {
            let own = ours.numbers();
            lines = table::parse(&namespace.table()?);
            covers = Covers::of(kind, &lines, |number| own.contains(&number));
            if covers.is_none() && kind != FileSystem::Proc {
                return refuse(call, "the container has none of its own");
            }
        }
        let pids = (kind == FileSystem::Proc).then(|| caller.pid_namespace()).transpose()?;
        let is_processes_only = kind == FileSystem::Proc && covers.is_none();
        let pids_by_option = call.features().proc_pidns;
        Ok(Self { kind, pids, pids_by_option, depends_on, covers, lines, is_processes_only })
    }

    /// Attributes that the mount has besides those of its kind.
    pub(super) fn forced(&self) -> MountAttrFlags {
        match &self.covers {
            Some(covers) if covers.read_only => MountAttrFlags::MOUNT_ATTR_RDONLY,
            _ => MountAttrFlags::empty(),
        }
    }

    /// While acting: goes where the file system is to be made. Some look at the namespaces of whoever makes them
    /// again: in the initial one, cgroup2 takes its options for those of the whole machine.
    pub(super) fn enter(&self, scene: &Scene<'_>) -> Result<(), Errno> {
        self.depends_on.as_ref().map_or(Ok(()), |namespace| scene.join(namespace))
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

    /// The mount with everything covered that is to be, and whether anything is: then it is locked.
    pub(super) fn cover(
        &self,
        mount: OwnedFd,
        namespace: &MountNamespace,
    ) -> Result<(OwnedFd, bool), Failure> {
        match &self.covers {
            Some(covers) if !covers.is_empty() => {
                Ok((lock_tree(mount, &covers.copy(namespace)?, Extent::Tree)?, true))
            }
            _ => Ok((mount, false)),
        }
    }
}
