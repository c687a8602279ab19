//! `mount(2)` and `umount2(2)`, and the calls that mount step by step.

mod api;
mod bind;
mod covers;
mod device;
mod file_system;
mod fuse;
mod layers;
mod mounter;
mod moving;
mod new;
mod ours;
mod remount;
mod request;
mod setting;
mod table;
mod umount;

use seccomp_agent_registry::{Call, Errno, Handler, Verdict};

pub use self::file_system::{Allowed, FileSystem, FileSystemGrant};
use self::mounter::Mounter;
use self::request::{Operation, Request};
use crate::emulate::{Failure, emulate, helped};

/// `mount(2)`, `umount(2)` and `umount2(2)`, of what is granted, and `fsopen(2)`, `fspick(2)`, `fsconfig(2)`,
/// `fsmount(2)`, `open_tree(2)`, `mount_setattr(2)` and `move_mount(2)`. Everything else continues, but for clones of what
/// is no directory, overlays and FUSE by `fsopen(2)`, and what is on a device by it and `fspick(2)`: ENOSYS, so that
/// `mount(8)` does by `mount(2)` what it would do by them.
///
/// **Grants** what takes `CAP_SYS_ADMIN`:
/// - new mounts of listed file systems, made as the caller and in the caller's namespaces. They are nosuid and nodev,
///   and noexec where they show what is the kernel's, unless the grant says otherwise;
/// - what is on a listed block device, which the caller has to be able to read, and write to unless the mount is
///   read-only. In a user namespace of the caller's its ids are mapped;
/// - what a program answers for that has opened `/dev/fuse`: by the caller's own descriptor of it;
/// - [binds](Self::with_binds) of what the caller can reach, with everything that is mounted on it;
/// - remounting, moving, unmounting and [propagation](Self::with_propagation) of the mounts that were made so.
///
/// What covers entries of the container's procfs and sysfs covers them in a new one, and cannot be taken off by
/// anybody. A container that has no procfs at all gets one that has processes only (`subset=pid`); one that has no
/// sysfs or no cgroup file system gets none; one that has them read-only gets them read-only.
///
/// **Refuses** with EPERM what would be seen outside the container: a mount on a shared one, and in the agent's own
/// mount namespace.
///
/// **Differs** from the kernel in what the descriptors are. That of `fsopen` is the end of a pipe: it has no messages
/// to read (EBADF, not ENODATA), and is a context only in calls that this handler gets, of tasks that share the
/// listener; others, whom it is handed to, are refused. That of `fsmount` is a directory that can be read, not
/// `O_PATH`: a caller that may not read the mount's root gets EACCES.
///
/// **Cannot know** when a detached mount is closed without having been attached: it stays until as many newer ones
/// are there as are kept, or until the container has ended. Nor whether a signal interrupts the caller between the last look at it and the answer: then the mount
/// stays, and a call that is restarted mounts a second one on top; interrupted earlier, it leaves none.
///
/// A caller that has the capability continues: the kernel decides. In a user namespace of its own it is helped only
/// with a procfs or sysfs of which the kernel would show it what is covered. Whoever is in a user namespace that its
/// mount namespace does not belong to continues.
#[derive(Clone, Debug, Default)]
pub struct Mount {
    file_systems: Vec<FileSystemGrant>,
    binds: bool,
    propagation: bool,
}

impl Mount {
    /// The calls that it answers, on all architectures together.
    pub const CALLS: &[&str] = &[
        "mount",
        "umount",
        "umount2",
        "fsopen",
        "fspick",
        "fsconfig",
        "fsmount",
        "mount_setattr",
        "move_mount",
        "open_tree",
    ];

    /// One that mounts these file systems.
    pub fn granting(file_systems: impl IntoIterator<Item = impl Into<FileSystemGrant>>) -> Self {
        Self { file_systems: file_systems.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// And binds.
    #[must_use]
    pub fn with_binds(self) -> Self {
        Self { binds: true, ..self }
    }

    /// And changes propagation.
    #[must_use]
    pub fn with_propagation(self) -> Self {
        Self { propagation: true, ..self }
    }

    /// The one that is limited to procfs.
    pub fn procfs() -> Self {
        Self::granting([FileSystem::Proc])
    }

    /// Whether anything is for a caller.
    fn helps(&self, mounter: &Mounter) -> bool {
        let needs_sys_admin = self.file_systems.iter().all(|grant| grant.needs_sys_admin);
        mounter.is_capable || self.binds || !needs_sys_admin
    }

    fn mount(&self, call: &Call<'_>) -> Result<Verdict, Failure> {
        let mut granted = None;
        let request = Request::read(call, |operation, kind| match operation {
            Operation::New => {
                let kind = kind.and_then(|kind| FileSystem::named(kind));
                granted = self.file_systems.iter().find(|grant| Some(grant.kind) == kind);
                granted.is_some()
            }
            Operation::Bind { .. } => self.binds,
            Operation::Remount { .. } | Operation::Move => self.binds || !self.file_systems.is_empty(),
            Operation::Propagation(_) => self.propagation,
        })?;
        let Some(request) = request else { return Ok(Verdict::Continue) };
        let Some(mounter) = Mounter::enter(call)? else { return Ok(Verdict::Continue) };
        let is_helped = !mounter.is_capable && self.helps(&mounter);
        if !granted.map_or(is_helped, |grant| grant.is_for(&mounter)) {
            return Ok(Verdict::Continue);
        }
        if mounter.namespace.is_ours()? {
            return refuse(call, ours::IN_OURS);
        }
        match (request.operation, granted) {
            (Operation::New, Some(grant)) => new::mount_new(call, &mounter, grant, &request),
            (Operation::Bind { recursive }, _) => {
                note(call, &request, "binds are granted");
                bind::bind(call, &mounter, &request, recursive)
            }
            (Operation::Remount { mount_only }, _) => {
                remount::remount(call, &mounter, &self.file_systems, &request, mount_only)
            }
            (Operation::Propagation(propagation), _) => {
                remount::propagate(call, &mounter, &request, propagation)
            }
            (Operation::Move, _) => moving::move_by_path(call, &mounter, &request),
            (Operation::New, None) => Ok(Verdict::Continue),
        }
    }

    fn unmount(&self, call: &Call<'_>) -> Result<Verdict, Failure> {
        match Mounter::enter(call)?.filter(|mounter| self.helps(mounter)) {
            Some(mounter) => umount::unmount(call, &mounter),
            None => Ok(Verdict::Continue),
        }
    }
}

impl Handler for Mount {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if call.tid() == 0 {
            // Its arguments cannot be read; most are none of ours.
            return Verdict::Continue;
        }
        emulate(call, |call| {
            let outcome = match call.syscall().name() {
                Some("mount") => self.mount(call),
                Some("umount" | "umount2") => self.unmount(call),
                _ => api::answer(call, self),
            };
            helped(call, outcome)
        })
    }

    fn name(&self) -> &'static str {
        "mount"
    }
}

fn note(call: &Call<'_>, request: &Request, because: &'static str) {
    call.note(|noted| {
        noted.path(&request.target);
        match &request.kind {
            Some(kind) if request.operation == Operation::New => {
                noted.asks(format_args!("type={}", kind.to_string_lossy()));
            }
            _ => {
                noted.asks(format_args!("operation={:?}", request.operation));
            }
        }
        let has_source = match request.operation {
            Operation::Bind { .. } => true,
            Operation::New => {
                request.kind.as_deref().and_then(FileSystem::named).is_some_and(FileSystem::is_on_a_device)
            }
            _ => false,
        };
        if let (true, Some(source)) = (has_source, &request.source) {
            noted.asks(format_args!("source={source:?}"));
        }
        if let Some(options) = &request.options {
            noted.asks(format_args!("options={options:?}"));
        }
        noted.because(because);
    });
}

/// EPERM, and why.
fn refuse<T>(call: &Call<'_>, because: &'static str) -> Result<T, Failure> {
    call.note(|noted| {
        noted.because(because);
    });
    Err(Errno::PERM.into())
}
