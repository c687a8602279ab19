//! Namespaces of a caller other than the one of its mounts, for what a file system shows depends on them.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::io::Errno;
use rustix::process::{chroot, fchdir};

use crate::caller::Caller;
use crate::error::Error;
use crate::home::{Home, join, join_mount_namespace};
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

impl Caller {
    /// The namespace of this kind that it is in.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<Namespace, Error> {
        let fd = self.open_namespace(kind.entry())?;
        let failed = |source| Error::Open { tid: self.tid(), entry: kind.entry(), source };
        let is_ours = self.home().is_in(kind, &fd).map_err(failed)?;
        Ok(Namespace { kind, fd, is_ours })
    }
}

impl Scene<'_> {
    /// Moves the acting thread to a namespace of the caller, until it goes home; the caller's root stays its root.
    /// EPERM for a caller in another user namespace than ours.
    pub fn join(&self, namespace: &Namespace) -> Result<(), Errno> {
        if !self.caller().is_in_our_user_namespace() {
            return Err(Errno::PERM);
        }
        self.with_own_capabilities(|| {
            if namespace.kind != NamespaceKind::Mount {
                return join(namespace.kind, &namespace.fd);
            }
            join_mount_namespace(&namespace.fd)?;
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
