use std::sync::Arc;
use std::time::Duration;

use seccomp_agent_registry::{Container, Syscall};

/// Is told what the agent does: for metrics.
pub trait Observer: Send + Sync {
    /// A listener of `container` is being served from now on, until the meter is dropped.
    fn listener_added(&self, container: &Container) -> Arc<dyn Meter>;

    /// A connection did not lead to a served listener. `kind` is one of a fixed set of words.
    fn handshake_failed(&self, kind: &'static str);
}

/// Is told of the answers of one listener. On the path of every call: it must neither lock nor allocate.
pub trait Meter: Send + Sync {
    /// A call was answered, this long after it was received. `verdict` is a [`Verdict`]'s name.
    ///
    /// [`Verdict`]: seccomp_agent_registry::Verdict::name
    fn answered(&self, syscall: Syscall, verdict: &'static str, after: Duration);
}
