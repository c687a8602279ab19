use std::path::PathBuf;

use rustix::io::Errno;

/// Why a container could not be launched, or not be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// `main` does not call [`run_if_init`](crate::run_if_init), so this program cannot be a container's init.
    #[error("this program cannot start containers: its main does not begin with run_if_init()")]
    NotPrepared,
    /// No command was given.
    #[error("there is no command to run")]
    NoCommand,
    /// A word of the command or the environment has a zero byte.
    #[error("{word:?} contains a zero byte")]
    ZeroByte {
        /// The word.
        word: std::ffi::OsString,
    },
    /// A name that cannot be the host's.
    #[error("{name:?} cannot be a host name: it takes 1 to 64 bytes")]
    Hostname {
        /// The name.
        name: String,
    },
    /// The root filesystem cannot be found.
    #[error("the root filesystem {path:?} cannot be found: {source}")]
    Rootfs {
        /// As it was given.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The copy of this program that init runs could not be made.
    #[error("copying this program for the container's init failed: {0}")]
    Image(#[source] std::io::Error),
    /// The process could not be made.
    #[error("clone3 with new mount, pid, ipc and uts namespaces failed: {0}")]
    Clone(#[source] Errno),
    /// A message from or to the container's init.
    #[error("{step} failed: {source}")]
    Channel {
        /// What was to be done.
        step: &'static str,
        /// What went wrong.
        source: Errno,
    },
    /// A step within the new container.
    #[error("{message}")]
    Setup {
        /// The exit status of `env(1)` for this: 125, 126 (cannot be executed) or 127 (not found).
        status: u8,
        /// Which step, of what, and why.
        message: String,
    },
    /// The container's init is gone without a word: it was killed.
    #[error("the container's init was killed")]
    InitKilled,
}

impl LaunchError {
    /// The exit status that a program such as `env(1)` has for it: 126 if the command cannot be executed, 127 if
    /// it is not found, else 125.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Setup { status, .. } => *status,
            _ => OWN_FAILURE,
        }
    }
}

/// The exit status for what is not the command's doing.
pub(crate) const OWN_FAILURE: u8 = 125;
/// For a command that cannot be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// For a command that is not there.
pub(crate) const NOT_FOUND: u8 = 127;
