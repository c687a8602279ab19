//! Placeholder.
use seccomp_agent_notify::Arch;

/// The memory of a stopped task.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    tid: u32,
    arch: Arch,
}

impl Memory {
    /// Of the task with this thread id, whose pointers are as wide as those of `arch`.
    pub const fn of(tid: u32, arch: Arch) -> Self {
        Self { tid, arch }
    }

    /// The thread id.
    pub const fn tid(&self) -> u32 {
        self.tid
    }

    /// The architecture.
    pub const fn arch(&self) -> Arch {
        self.arch
    }
}
