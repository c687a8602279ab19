use seccomp_agent_nsenter::{Caller, Capabilities, MountNamespace, Namespace, NamespaceKind};
use seccomp_agent_registry::Call;

use crate::emulate::{Failure, open_caller};

/// A caller that something can be mounted for, and where its mounts are.
pub(super) struct Mounter {
    pub(super) caller: Caller,
    pub(super) namespace: MountNamespace,
    /// Whether it has `CAP_SYS_ADMIN` in its user namespace, which is not ours: what the kernel lets anybody mount
    /// there, it mounts itself.
    pub(super) is_capable: bool,
}

impl Mounter {
    /// Who makes a call, unless all there is to it is the kernel's to decide: for a caller that has the capability
    /// where ours count, and for one whose capabilities do not count where its mounts are.
    pub(super) fn enter(call: &Call<'_>) -> Result<Option<Self>, Failure> {
        let caller = open_caller(call)?;
        let has_capability = caller.credentials().effective.contains(Capabilities::SYS_ADMIN);
        if has_capability && caller.is_in_our_user_namespace() {
            return Ok(None);
        }
        let namespace = caller.mount_namespace()?;
        if !caller.is_in_our_user_namespace() && !caller.owns(&namespace)? {
            return Ok(None);
        }
        Ok(Some(Self { caller, namespace, is_capable: has_capability }))
    }

    /// [`enter`](Self::enter), unless the kernel lets the caller do it anyway.
    pub(super) fn enter_incapable(call: &Call<'_>) -> Result<Option<Self>, Failure> {
        Ok(Self::enter(call)?.filter(|mounter| !mounter.is_capable))
    }

    /// Whether it is in a user namespace of its own.
    pub(super) const fn is_foreign(&self) -> bool {
        !self.caller.is_in_our_user_namespace()
    }

    /// Where a helper has to be to make mounts: who is in no namespace of the caller's user namespace makes none.
    pub(super) fn workplace(&self) -> Result<Option<Namespace>, Failure> {
        let needed = self.is_foreign().then(|| self.caller.namespace(NamespaceKind::Mount));
        Ok(needed.transpose()?)
    }
}
