use seccomp_agent_notify::Errno;

/// Why an argument could not be read. The first group is the caller's doing and says what the kernel would have
/// said; in the second the caller is beyond our reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing readable is mapped there, or it is no address of a program.
    #[error("nothing is readable at address {address:#x} of the caller")]
    Fault {
        /// Where the part that could not be read begins.
        address: u64,
    },
    /// A string that does not end soon enough.
    #[error("the string at address {address:#x} does not end within {max} bytes")]
    Unterminated {
        /// Where it begins.
        address: u64,
        /// How many bytes it may have, the NUL included.
        max: usize,
    },
    /// More bytes at once than [`MAX_BYTES`](crate::MAX_BYTES), or more strings than
    /// [`MAX_STRINGS`](crate::MAX_STRINGS).
    #[error("the argument at address {address:#x} is larger than {max}")]
    TooLarge {
        /// Where it begins.
        address: u64,
        /// The bound.
        max: usize,
    },
    /// More I/O vectors than the kernel takes.
    #[error("{count} I/O vectors are more than {max}")]
    TooManyVectors {
        /// How many there were said to be.
        count: u64,
        /// The bound.
        max: usize,
    },
    /// The caller has ended, or is not visible in this pid namespace.
    #[error("thread {tid} is gone")]
    Gone {
        /// Its thread id.
        tid: u32,
    },
    /// We may not read the caller's memory: `CAP_SYS_PTRACE` is missing, or a security module objects.
    #[error("reading the memory of thread {tid} is not permitted; it takes CAP_SYS_PTRACE")]
    Denied {
        /// Its thread id.
        tid: u32,
    },
    /// Anything else that `process_vm_readv(2)` says.
    #[error("process_vm_readv of thread {tid} failed: {source}")]
    Failed {
        /// Its thread id.
        tid: u32,
        /// What it said.
        source: Errno,
    },
}

impl ReadError {
    /// What the caller is to be told: the kernel's own error for such an argument. Nobody sees the EINTR of a
    /// caller that is gone.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Fault { .. } => Errno::FAULT,
            Self::Unterminated { .. } => Errno::NAMETOOLONG,
            Self::TooLarge { .. } => Errno::TOOBIG,
            Self::TooManyVectors { .. } => Errno::INVAL,
            Self::Gone { .. } => Errno::INTR,
            Self::Denied { .. } => Errno::PERM,
            Self::Failed { source, .. } => source,
        }
    }
}

impl From<ReadError> for Errno {
    fn from(error: ReadError) -> Self {
        error.errno()
    }
}
