//! Write a seccomp agent: the socket, the handshake with the container runtime, the dispatch engine.
//!
//! A container runtime that finds `listenerPath` in a seccomp profile connects to that socket and hands over the
//! filter's listener. [`Agent`] accepts the connection ([`Socket`]), reads the one message on it
//! ([`ProcessState`]), asks a [`Resolver`] which handlers the container gets, and gives the listener to the
//! [`Engine`], whose threads answer its notifications until the container has ended.
//!
//! An agent is a resolver and a path:
//!
//! ```no_run
//! use seccomp_agent_agent::{Agent, ResolveError};
//! use seccomp_agent_registry::{Call, Container, Errno, Registry, Verdict};
//!
//! fn resolve(container: &Container) -> Result<Registry, ResolveError> {
//!     let mut registry = Registry::new();
//!     if container.annotations.contains_key("example.com/no-chmod") {
//!         registry.on("chmod", |_: &Call<'_>| Verdict::Errno(Errno::PERM))?;
//!     }
//!     Ok(registry)
//! }
//!
//! Agent::new(resolve).run("/run/my-agent.socket")?;
//! # Ok::<(), seccomp_agent_agent::AgentError>(())
//! ```
mod agent;
mod door;
mod engine;
mod handshake;
mod peer;
mod resolver;
mod socket;
mod state;

pub use agent::{Agent, AgentError, Fallback, raise_descriptor_limit};
pub use door::MAX_CONNECTIONS;
pub use engine::{Config, Engine, EngineError, Meter, Observer};
pub use handshake::{HandshakeError, MAX_STATE, MESSAGE_DEADLINE};
pub use resolver::{ResolveError, Resolver, Resolving};
pub use socket::{Socket, SocketError};
pub use state::{MAX_ID, ProcessState, StateError};
