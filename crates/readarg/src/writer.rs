use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use seccomp_agent_notify::Errno;

use crate::memory::Memory;

/// The memory of a stopped task, held to be written to (`proc_pid_mem(5)`).
///
/// Made **before** the notification proves to be still valid: what is held then is the caller's memory, or that of
/// nobody any more, whoever gets the caller's number.
#[derive(Debug)]
pub struct Writer {
    tid: u32,
    memory: File,
}

/// Why an answer could not be written into the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nothing is mapped there that the caller could write.
    #[error("address {address:#x} of the caller cannot be written")]
    Fault {
        /// The address.
        address: u64,
    },
    /// The caller has ended, or is not visible in this pid namespace.
    #[error("thread {tid} is gone")]
    Gone {
        /// Its thread id.
        tid: u32,
    },
    /// We may not write the caller's memory: `CAP_SYS_PTRACE` is missing, or a security module objects.
    #[error("writing the memory of thread {tid} is not permitted; it takes CAP_SYS_PTRACE")]
    Denied {
        /// Its thread id.
        tid: u32,
    },
    /// Anything else that the kernel says.
    #[error("writing /proc/{tid}/mem failed: {source}")]
    Failed {
        /// The thread id.
        tid: u32,
        /// What it said.
        source: Errno,
    },
}

impl WriteError {
    /// What the caller is to be told. Nobody sees the EINTR of a caller that is gone.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Fault { .. } => Errno::FAULT,
            Self::Gone { .. } => Errno::INTR,
            Self::Denied { .. } => Errno::PERM,
            Self::Failed { source, .. } => source,
        }
    }

    fn of(tid: u32, error: &std::io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::SRCH) => Self::Gone { tid },
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { tid },
            Some(source) => Self::Failed { tid, source },
            None => Self::Failed { tid, source: Errno::IO },
        }
    }
}

impl Memory {
    /// Holds the memory, to write an answer to it.
    pub fn writer(&self) -> Result<Writer, WriteError> {
        let tid = self.tid();
        let opened = OpenOptions::new().write(true).open(format!("/proc/{tid}/mem"));
        opened.map(|memory| Writer { tid, memory }).map_err(|error| WriteError::of(tid, &error))
    }
}

impl Writer {
    /// Writes all of `bytes`. Like reading, it can block for as long as the caller likes.
    ///
    /// Private memory that the caller itself may only read is written as well, as a debugger does; the kernel would
    /// say EFAULT.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.memory.write_all_at(bytes, address).map_err(|error| match Errno::from_io_error(&error) {
            // The memory of a task that has ended takes nothing.
            None if error.kind() == ErrorKind::WriteZero => WriteError::Gone { tid: self.tid },
            Some(Errno::IO | Errno::FAULT | Errno::INVAL) => WriteError::Fault { address },
            _ => WriteError::of(self.tid, &error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_notify::Arch;

    fn own() -> Writer {
        Memory::of(std::process::id(), Arch::native()).writer().unwrap()
    }

    #[test]
    fn what_is_written_is_there() {
        let place = Box::new(std::sync::atomic::AtomicU32::new(0));
        let address = std::ptr::from_ref(&*place).addr() as u64;
        own().write(address, &7_u32.to_ne_bytes()).unwrap();
        assert_eq!(place.load(std::sync::atomic::Ordering::Relaxed), 7);
    }

    #[test]
    fn where_nothing_is_the_kernels_error_is_known() {
        for address in [0, 1 << 47, u64::MAX, 0xffff_8880_0000_0000] {
            let refused = own().write(address, b"x").unwrap_err();
            assert_eq!((refused, refused.errno()), (WriteError::Fault { address }, Errno::FAULT));
        }
    }

    #[test]
    fn a_task_that_does_not_exist_is_gone() {
        let nobody = Memory::of(i32::MAX.cast_unsigned(), Arch::native()).writer().unwrap_err();
        assert_eq!(nobody.errno(), Errno::INTR);
    }
}
