use rustix::io::Errno;

/// Why nothing was done for a caller, or what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller has died or left its call; nobody sees the answer.
    #[error("the caller has left its call")]
    Gone,
    /// The notification carries no pid: the caller is outside this pid namespace.
    #[error("the caller is not visible in this pid namespace")]
    Invisible,
    /// The thread could not learn what its own state is.
    #[error("preparing a thread to act for callers failed at {step}: {source}")]
    Prepare {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// An entry of the caller in /proc could not be opened or read. It takes `CAP_SYS_PTRACE`.
    #[error("opening {entry} of thread {tid} in /proc failed: {source}")]
    Open {
        /// The caller.
        tid: u32,
        /// Which entry.
        entry: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The caller's status does not say what it must.
    #[error("the status of thread {tid} has no usable {field} line")]
    Status {
        /// The caller.
        tid: u32,
        /// Which line.
        field: &'static str,
    },
    /// The thread could not take on the caller's state. It has its own again.
    #[error("becoming thread {tid} failed at {step}: {source}")]
    Become {
        /// The caller.
        tid: u32,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// There is no helper that could act in the caller's user namespace, or it could not take on the caller's
    /// ids. Nothing was done.
    #[error("acting in the user namespace of thread {tid} failed at {step}: {source}")]
    NoHelper {
        /// The caller.
        tid: u32,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The helper ended while it acted: somebody in the container has killed or stopped it, or it ran out of
    /// memory. What it has done is done.
    #[error("the helper in the user namespace of thread {tid} was killed while it acted")]
    HelperEnded {
        /// The caller.
        tid: u32,
    },
    /// There is no place where a tree of mounts could be locked. It takes a user namespace. Nothing was done.
    #[error("making a place to lock mounts in failed at {step}: {source}")]
    NoWorkshop {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// What the kernel answers the caller: the emulated call's own error.
    #[error(transparent)]
    Call(#[from] Errno),
}

impl Error {
    /// What to answer the caller. What went wrong on our side is EPERM to it: it is not permitted to do what
    /// nobody could do for it.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Call(errno) => errno,
            Self::Gone | Self::HelperEnded { .. } => Errno::INTR,
            _ => Errno::PERM,
        }
    }

    /// Whether an operator should hear of it: it is neither the call's own result nor the caller's end.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Call(_) | Self::Gone)
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        error.errno()
    }
}
