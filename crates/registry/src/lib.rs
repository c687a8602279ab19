//! Which handler answers which system call of which container.
//!
//! When a container's listener arrives, a resolver looks at the [`Container`] and returns a [`Registry`]: a map
//! from system calls to [`Handler`]s. For each notification the engine builds a [`Call`], asks the registry for
//! the handler, and turns the [`Verdict`] it gives into the kernel's answer. A [`Layer`] wraps handlers, for
//! what concerns all of them alike: audit, events, metrics.
//!
//! A verdict is a value, so a handler is tested without a kernel:
//!
//! ```
//! use seccomp_agent_registry::{Call, Container, Errno, Registry, Verdict};
//! # use seccomp_agent_registry::Notification;
//!
//! let mut registry = Registry::new();
//! registry.on("chmod", |_: &Call<'_>| Verdict::Errno(Errno::BADMSG))?;
//!
//! let container = Container::named("web");
//! # let notification = Notification::sample("chmod");
//! let call = Call::new(&notification, &container);
//! assert_eq!(registry.answer(&call), Verdict::Errno(Errno::BADMSG));
//! # Ok::<(), seccomp_agent_registry::UnknownSyscall>(())
//! ```
pub mod annotation;
mod call;
mod container;
mod handler;
mod kept;
mod notes;
mod pod;
mod registry;
mod verdict;

pub use call::{Call, Caller};
pub use container::{Container, Status};
pub use handler::{Handler, Layer};
pub use notes::{Excerpt, Noted, Notes, Notice};
pub use pod::{Owner, Pod, PodContainer, Role};
pub use registry::{Registry, UnknownSyscall};
pub use seccomp_agent_notify::{Arch, Errno, Features, Notification, Syscall};
pub use seccomp_agent_readarg::{Fields, Layout, Memory, ReadError, WriteError};
pub use verdict::Verdict;
