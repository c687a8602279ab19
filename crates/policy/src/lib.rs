//! What an administrator grants to which container.
//!
//! A [`Policy`] is parsed from one YAML file: rules, each of which says which containers it is for, what such a
//! container may ask for, and which handlers it gets. The first rule that matches counts. For a
//! [`Container`](seccomp_agent_registry::Container), [`Policy::resolve`] gives the registry of its handlers and
//! an [`Explanation`]: which rule, which handlers, why.
//!
//! What a container's author writes (annotations, `listenerMetadata`) are requests: they choose among what the
//! rule honours and do nothing else. A container that no rule is for gets no handler, so that it can do what it
//! could do without an agent, or nothing (`otherwise: refuse`).
//!
//! All is checked when the policy is parsed; a [`Fault`] says line, column and field. Only names that are made of
//! what is known of a container (templates) can fail later, when the container comes.
//!
//! ```
//! use seccomp_agent_policy::Policy;
//! use seccomp_agent_registry::Container;
//!
//! let policy = Policy::parse(r"
//! version: 1
//! rules:
//!   - name: builders
//!     match: {id: build-*}
//!     honour: {metadata: [MOUNT_PROC]}
//!     grant:
//!       nodes: [c 1:3, c 1:5]
//!       calls:
//!         - {names: [fsync, fdatasync], answer: {return: 0}}
//! ")?;
//! let mut container = Container::named("build-7");
//! container.metadata = "MOUNT_PROC=true".to_owned();
//! let resolved = policy.resolve(&container)?;
//! assert_eq!(resolved.explanation.rule.as_deref(), Some("builders"));
//! assert!(resolved.registry.names().is_superset(&["mknodat", "fsync", "mount", "umount2"].into()));
//!
//! assert!(policy.resolve(&Container::named("web"))?.registry.names().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod duration;
mod effect;
mod errno;
mod explanation;
mod fault;
mod grant;
mod identity;
mod mount;
mod near;
mod numbers;
mod policy;
mod request;
mod rule;
#[cfg(test)]
mod schema;
mod template;
mod watch;
mod workload;

pub use effect::RequestError;
pub use explanation::{Decided, Explanation, Granted, Kept, Tried};
pub use fault::Fault;
pub use policy::{Policy, PolicyError, ResolveError, Resolved};
pub use request::{Outcome, Request, Source};
pub use template::{RenderError, TemplateError};
pub use watch::Watch;
