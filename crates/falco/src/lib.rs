//! Tell [Falco](https://falco.org) of the system calls that a seccomp agent is notified of.
//!
//! Falco's plugin for seccomp agents (`falco-plugin` of `kinvolk/seccompagent`) listens on a unix socket and speaks
//! gRPC: an event for each call, with who made it. [`Falco`] is the connection to it, one for an agent; the
//! [`FalcoLayer`] that it makes for a container goes around the container's handlers. Falco only looks on: an event is
//! put into a bounded queue before the handler is asked, and where Falco is away, slow or full, events are left out
//! and counted. No call ever waits for it, and none fails.
//!
//! ```
//! use seccomp_agent_falco::{DEFAULT_SOCKET, Falco, Workload};
//! use seccomp_agent_registry::{Call, Registry, Verdict};
//!
//! let falco = Falco::start(DEFAULT_SOCKET.as_ref())?;
//! let mut registry = Registry::new();
//! registry.on("mkdir", |_: &Call<'_>| Verdict::Continue)?;
//! registry.layer(&falco.layer(Workload { namespace: "shop".into(), ..Workload::default() }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod layer;
mod publisher;

pub use event::Workload;
pub use layer::FalcoLayer;
pub use publisher::{DEFAULT_SOCKET, Falco, StartError};
