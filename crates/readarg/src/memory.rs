use std::ffi::CString;
use std::io::IoSliceMut;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use seccomp_agent_notify::{Arch, Errno};

use crate::error::ReadError;
use crate::layout::{IoVector, Layout};
use crate::walk::{self, PATH_MAX, Source};

/// The memory of a stopped task (`process_vm_readv(2)`, which takes `CAP_SYS_PTRACE` for most callers).
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

    /// A path: a string of less than [`PATH_MAX`] bytes.
    pub fn path(&self, address: u64) -> Result<CString, ReadError> {
        self.c_string(address, PATH_MAX)
    }

    /// A string of at most `max` bytes, the NUL included. A longer one is ENAMETOOLONG.
    pub fn c_string(&self, address: u64, max: usize) -> Result<CString, ReadError> {
        walk::c_string(self, self.arch, address, max)
    }

    /// [`c_string`](Self::c_string) for an argument that may be null.
    pub fn optional_c_string(&self, address: u64, max: usize) -> Result<Option<CString>, ReadError> {
        if address == 0 { Ok(None) } else { self.c_string(address, max).map(Some) }
    }

    /// `len` bytes, at most [`MAX_BYTES`](crate::MAX_BYTES).
    pub fn bytes(&self, address: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        walk::bytes(self, self.arch, address, len)
    }

    /// A structure.
    pub fn structure<T: Layout>(&self, address: u64) -> Result<T, ReadError> {
        walk::structure(self, self.arch, address)
    }

    /// `count` I/O vectors (`struct iovec`), at most [`MAX_IO_VECTORS`](crate::MAX_IO_VECTORS).
    pub fn io_vectors(&self, address: u64, count: u64) -> Result<Vec<IoVector>, ReadError> {
        walk::io_vectors(self, self.arch, address, count)
    }

    /// The strings of a list that a null pointer ends, such as `argv`, at most
    /// [`MAX_STRINGS`](crate::MAX_STRINGS).
    pub fn c_strings(&self, address: u64) -> Result<Vec<CString>, ReadError> {
        walk::c_strings(self, self.arch, address)
    }
}

impl Source for Memory {
    fn fill(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer.len();
        let remote =
            RemoteIoVec { base: usize::try_from(address).map_err(|_| ReadError::Fault { address })?, len };
        // Pid 0 would be ourselves.
        let pid =
            i32::try_from(self.tid).ok().filter(|pid| *pid > 0).ok_or(ReadError::Gone { tid: self.tid })?;
        match process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buffer)], &[remote]) {
            Ok(copied) if copied == len => Ok(()),
            Ok(copied) => Err(ReadError::Fault { address: address.saturating_add(copied as u64) }),
            Err(nix::Error::EFAULT) => Err(ReadError::Fault { address }),
            Err(nix::Error::ESRCH) => Err(ReadError::Gone { tid: self.tid }),
            Err(nix::Error::EPERM) => Err(ReadError::Denied { tid: self.tid }),
            Err(other) => {
                Err(ReadError::Failed { tid: self.tid, source: Errno::from_raw_os_error(other as i32) })
            }
        }
    }
}
