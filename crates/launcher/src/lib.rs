//! Start a command in namespaces of its own under a seccomp profile, and hand over its listener as a container
//! runtime does.
//!
//! - A [`Filter`] is a profile as the kernel will load it, whole or not at all.
//! - A [`Launcher`] says what the container is: a command, perhaps a root filesystem, a [`User`] and
//!   [`Capabilities`]; it makes the
//! - [`Container`], which has the listener, says what becomes of the command, and takes everything along when it
//!   is dropped.
//! - A [`Handover`] is the message by which a runtime gives a listener to an agent.
//! - [`enter_user_namespace`] makes all this possible without root.
//!
//! Between the caller and the command there is one process, the container's init. It is this very program,
//! started again: hence [`run_if_init`]. The command loads its filter as the last thing before it is executed,
//! and gets the listener out without a system call: init shares its descriptors and looks at a word in shared
//! memory. So a profile may notify everything, `sendmsg` and `execve` included.
//!
//! ```
//! use std::process::ExitCode;
//! use seccomp_agent_launcher::{Filter, Launcher, run_if_init};
//! use seccomp_agent_profile::{Action, Profile};
//!
//! fn main() -> ExitCode {
//!     if let Some(code) = run_if_init() {
//!         return code;
//!     }
//!     let profile = Profile::new(Action::Allow).rule(Action::Errno(1), ["mkdir", "mkdirat"]);
//!     let filter = Filter::new(&profile).expect("it is exact");
//! #   if !seccomp_agent_launcher::is_privileged() { return ExitCode::SUCCESS }
//!     match Launcher::new(["mkdir", "/tmp/x"]).filter(filter).launch().and_then(|container| container.wait()) {
//!         Ok(ended) => assert_eq!(ended.exit_status(), 1),
//!         Err(error) => return ExitCode::from(error.exit_status()),
//!     }
//!     ExitCode::SUCCESS
//! }
//! ```
mod capability;
mod channel;
mod container;
mod error;
mod filter;
mod handover;
mod image;
mod init;
mod launcher;
mod plan;
mod shared;
mod spawn;
mod user;
mod user_namespace;

pub use capability::{Capabilities, UnknownCapability};
pub use container::{Container, Ended, Event};
pub use error::LaunchError;
pub use filter::{Filter, FilterError};
pub use handover::{Handover, HandoverError, connect};
pub use init::run_if_init;
pub use launcher::Launcher;
pub use rustix::process::Signal;
pub use user::{InvalidUser, User};
pub use user_namespace::{UserNamespaceError, enter_user_namespace, is_privileged, join_user_namespace};
