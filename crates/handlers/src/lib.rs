//! Handlers that do for a container what it may not do itself, as the kernel would if it might.
//!
//! One file is one family of system calls. Each says what it grants, what it refuses and what it cannot know:
//!
//! | handler | calls | grants |
//! |---|---|---|
//! | [`Directories`] | `mkdir`, `mkdirat` | nothing but a suffix to the name |
//! | [`Mount`] | `mount` | the procfs of the caller's own pid namespace |
//! | [`ExecDelay`] | `execve`, `execveat` | nothing: it delays |
//! | [`FixedErrno`] | any | nothing: it refuses |
//!
//! None of them is on until a registry is told so; [`demo_basic`] is a registry that uses all.
//!
//! # The next handler
//! A handler that acts copies its arguments, opens its [`Caller`](seccomp_agent_nsenter::Caller), and acts as
//! the caller with what it grants. [`emulate`] turns what goes wrong into the answer:
//!
//! ```
//! use rustix::fs::symlinkat;
//! use seccomp_agent_handlers::{Failure, emulate};
//! use seccomp_agent_nsenter::{Base, Caller, Capabilities, EntryPath};
//! use seccomp_agent_registry::{Call, Handler, Registry, Verdict};
//!
//! /// `symlink`, with no grant: as the caller could have done itself.
//! struct Symlinks;
//!
//! impl Handler for Symlinks {
//!     fn handle(&self, call: &Call<'_>) -> Verdict {
//!         emulate(call, link)
//!     }
//! }
//!
//! fn link(call: &Call<'_>) -> Result<Verdict, Failure> {
//!     let content = call.memory().path(call.arg(0))?;
//!     let path = EntryPath::new(&call.memory().path(call.arg(1))?);
//!     let caller = Caller::open(call.tid())?;
//!     caller.act(|| call.is_valid(), Capabilities::empty(), |scene| {
//!         let place = scene.place(&Base::cwd(), &path)?;
//!         symlinkat(&content, place.directory(), place.name())
//!     })?;
//!     Ok(Verdict::Return(0))
//! }
//!
//! let mut registry = Registry::new();
//! registry.on("symlinkat", Symlinks)?;
//! # Ok::<(), seccomp_agent_registry::UnknownSyscall>(())
//! ```
mod demo;
mod directories;
mod emulate;
mod exec_delay;
mod fixed_errno;
mod mount;
mod pattern;

pub use demo::demo_basic;
pub use directories::Directories;
pub use emulate::{Failure, emulate};
pub use exec_delay::ExecDelay;
pub use fixed_errno::FixedErrno;
pub use mount::Mount;
pub use pattern::Pattern;
