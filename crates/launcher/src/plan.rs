//! What the launcher tells the container's init, and what that reports back: JSON, one message a packet.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::filter::WireFilter;
use crate::user::User;

/// Everything that init has to know; the command comes as its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) rootfs: Option<PathBuf>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) hostname: Option<String>,
    pub(crate) user: User,
    /// The most that the command may ever have.
    pub(crate) capabilities: Capabilities,
    /// Of those, what a command that is not root starts with.
    pub(crate) ambient: Capabilities,
    pub(crate) no_new_privs: bool,
    pub(crate) filter: Option<WireFilter>,
    /// Init dies with the thread that launched it.
    pub(crate) bound_to_thread: bool,
}

/// What init reports.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The container could not be started; the exit status that says so (`env(1)`), and which step failed.
    Failed { status: u8, message: String },
    /// The filter is loaded. Comes with a pidfd of the command and, if there is one, the listener.
    Loaded,
    /// The command was stopped by this signal.
    Stopped(i32),
    /// And goes on.
    Continued,
    /// It ended with this status.
    Exited(i32),
    /// It was ended by this signal.
    Killed(i32),
}
