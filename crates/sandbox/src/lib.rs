//! What the threads of a seccomp agent may do themselves.
//!
//! An agent acts for containers with the rights of the host's root. What it never does, nobody who takes it over
//! should be able to do by it:
//!
//! - [`confine_agent`] comes first, while there is one thread: no thread of the agent, nor a helper process that it
//!   starts, can make another system call than those the agent is known to make (`calls.rs`).
//! - [`ControlPlane::confine`] comes when the threads that act for containers have been started. From then on the
//!   threads that talk to runtimes, to an API server and to whoever asks for metrics cannot enter containers, mount,
//!   change who they are or look into other processes, and Landlock leaves them those files alone that they need.
//!
//! The threads that act have neither: Landlock would keep them from mounting, and their paths are the containers'.
//!
//! A refused call fails with EPERM, and the kernel logs it. It does not kill: with the agent all containers would lose
//! the answers to their calls, and a call that the libc of tomorrow makes first would be enough for that.
//!
//! ```no_run
//! use seccomp_agent_sandbox::{ControlPlane, Files, confine_agent};
//!
//! confine_agent()?;
//! let files = Files { read: vec!["/etc".into()], ..Files::default() };
//! // Threads that act for containers are started here.
//! let landlock = ControlPlane::new(files)?.confine()?;
//! println!("Landlock is {landlock}");
//! # Ok::<(), seccomp_agent_sandbox::SandboxError>(())
//! ```

mod calls;
mod files;
mod filter;
mod rules;

pub use files::{Files, Landlock};

use rustix::io::Errno;

use files::restrict;
use filter::Filter;

/// Why a thread could not be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A filter cannot be made.
    #[error("no seccomp filter can be made on this architecture: {0}")]
    Filter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel does not take a filter.
    #[error("seccomp(SECCOMP_SET_MODE_FILTER) failed: {0}")]
    Load(#[source] Errno),
    /// `no_new_privs` cannot be set.
    #[error("prctl(PR_SET_NO_NEW_PRIVS) failed: {0}")]
    NoNewPrivileges(#[source] Errno),
    /// The kernel has Landlock and does not take the rules.
    #[error("Landlock cannot be turned on: {0}")]
    Landlock(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Confines the calling thread, and whatever it starts from now on, to the system calls that some thread of an agent
/// makes. To be called while there is one thread. Sets `no_new_privs` (`prctl(2)`): nothing is executed anyway.
///
/// Of the hot calls none is looked at by its arguments, so that since Linux 5.11 the kernel keeps the filter's answer in
/// a bitmap.
pub fn confine_agent() -> Result<(), SandboxError> {
    load(&[&Filter::of_every_thread()?, &Filter::without_clone3()?])
}

/// What confines the threads of the control plane.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    filter: Filter,
    files: Files,
}

impl ControlPlane {
    /// With the files that they need.
    pub fn new(files: Files) -> Result<Self, SandboxError> {
        Ok(Self { filter: Filter::of_the_control_plane()?, files })
    }

    /// Confines the calling thread, and whatever it starts from now on, on top of what confines it already: to be
    /// called once the threads that act have been started. Says what Landlock does about files.
    pub fn confine(&self) -> Result<Landlock, SandboxError> {
        let landlock = restrict(&self.files)?;
        load(&[&self.filter])?;
        Ok(landlock)
    }
}

fn load(filters: &[&Filter]) -> Result<(), SandboxError> {
    seccomp_agent_notify::filter::set_no_new_privs().map_err(SandboxError::NoNewPrivileges)?;
    filters.iter().try_for_each(|filter| filter.load())
}
