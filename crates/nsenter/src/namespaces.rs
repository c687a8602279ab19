//! Namespaces of a caller other than the one of its mounts, for what a file system shows depends on them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use rustix::io::Errno;
use rustix::process::{chroot, fchdir};

use crate::caller::Caller;
use crate::error::Error;
use crate::home::{Home, from_nix, join, join_mount_namespace};
use crate::raw;
use crate::scene::Scene;

/// A kind of namespace that a [`Scene`] can be moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceKind {
    /// Of mounts: what is looked up stays the same, and a layer of an overlay is one of the caller's.
    Mount,
    /// Of the network.
    Network,
    /// Of message queues.
    Ipc,
    /// Of control groups.
    Cgroup,
}

/// A namespace of a caller.
#[derive(Debug)]
pub struct Namespace {
    kind: NamespaceKind,
    fd: OwnedFd,
    is_ours: bool,
}

impl NamespaceKind {
    pub(crate) const ALL: [Self; 4] = [Self::Mount, Self::Network, Self::Ipc, Self::Cgroup];

    /// Its entry in procfs.
    pub(crate) const fn entry(self) -> &'static str {
        match self {
            Self::Mount => "ns/mnt",
            Self::Network => "ns/net",
            Self::Ipc => "ns/ipc",
            Self::Cgroup => "ns/cgroup",
        }
    }

    pub(crate) const fn flag(self) -> CloneFlags {
        match self {
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Network => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        }
    }
}

impl Namespace {
    /// Whether it is the agent's own.
    pub const fn is_ours(&self) -> bool {
        self.is_ours
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Caller {
    /// The namespace of this kind that it is in.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<Namespace, Error> {
        let fd = self.open_namespace(kind.entry())?;
        let failed = |source| Error::Open { tid: self.tid(), entry: kind.entry(), source };
        let is_ours = self.home().is_in(kind, &fd).map_err(failed)?;
        Ok(Namespace { kind, fd, is_ours })
    }

    /// Whether a namespace, of whatever kind, belongs to the user namespace that it is in: whether its capabilities
    /// count there (`user_namespaces(7)`).
    pub fn owns(&self, namespace: impl AsFd) -> Result<bool, Error> {
        const ENTRY: &str = "ns/user";
        let own = self.open_namespace(ENTRY)?;
        let failed = |source| Error::Open { tid: self.tid(), entry: ENTRY, source };
        let owner = raw::owner_of(namespace.as_fd()).map_err(failed)?;
        let number = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
        Ok(number(&own).map_err(failed)? == number(&owner).map_err(failed)?)
    }
}

impl Caller {
    /// Has the ids in a mount that is attached nowhere yet, of what belongs to our user namespace, be those of the
    /// caller's (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`): what is 0's is its root's. EINVAL where the file system
    /// cannot.
    pub fn map_ids(&self, mount: impl AsFd) -> Result<(), Error> {
        let namespace = self.open_namespace("ns/user")?;
        Ok(raw::map_ids(mount.as_fd(), namespace.as_fd())?)
    }
}

impl Scene<'_> {
    /// Moves who acts to a namespace of the caller; the caller's root stays its root. A thread is there until it goes
    /// home. A helper stays, so that it joins nothing but a mount namespace (else EPERM): all it does there is by
    /// descriptors, and its next caller's may be another.
    pub fn join(&self, namespace: &Namespace) -> Result<(), Errno> {
        let is_helper = self.actor().is_helper;
        self.with_own_capabilities(|| {
            match namespace.kind {
                NamespaceKind::Mount if is_helper => {
                    setns(&namespace.fd, CloneFlags::CLONE_NEWNS).map_err(from_nix)?;
                }
                NamespaceKind::Mount => join_mount_namespace(&namespace.fd)?,
                _ if is_helper => return Err(Errno::PERM),
                other => return join(other, &namespace.fd),
            }
            fchdir(self.caller().root())?;
            chroot(c".")
        })
    }
}

impl Home {
    /// Whether a thread that is at home is in a namespace.
    pub(crate) fn is_in(&self, kind: NamespaceKind, namespace: &OwnedFd) -> Result<bool, Errno> {
        let (ours, theirs) = (rustix::fs::fstat(self.namespace(kind))?, rustix::fs::fstat(namespace)?);
        Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
    }
}
