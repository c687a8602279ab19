//! Reading what a system call's argument points to, in the memory of the stopped task.
//!
//! A [`Memory`] is a caller's address space as one notified call sees it: which thread, and how wide its
//! pointers are. Its methods copy strings, bytes, structures and arrays out of it. Each copy is bounded by a
//! named constant, stops at the byte it needs, and fails with a [`ReadError`] that knows which errno the kernel
//! would have given the caller for the same argument.
//!
//! Three rules go with it:
//!
//! - **Copy once, act on the copy.** Another thread of the caller can change its memory at any time.
//! - **Then ask whether the call is still valid.** A thread id is not an identity; only a notification that is
//!   still valid *after* the reading proves that what was read was the caller's.
//! - **Reading can block**, for as long as the caller likes: a page may be one that another thread of it
//!   supplies (`userfaultfd(2)`). Hence nothing is read past a page boundary that need not be.
//!
//! A [`Writer`] puts an answer there, for the few calls whose result is more than a number.
//!
//! The parsing is in [`walk`], which knows no kernel: any [`Source`] of bytes will do.
//!
//! ```
//! use seccomp_agent_readarg::{Arch, Errno, Memory};
//!
//! let path = c"/etc/hostname"; // where a caller's argument would point
//! let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
//! let memory = Memory::of(tid, Arch::native());
//! assert_eq!(memory.path(path.as_ptr() as u64)?.as_c_str(), path);
//!
//! let failed = memory.path(0).unwrap_err();
//! assert_eq!(failed.errno(), Errno::FAULT);
//! # Ok::<(), seccomp_agent_readarg::ReadError>(())
//! ```
pub mod walk;

mod error;
mod layout;
mod memory;
mod writer;

pub use error::ReadError;
pub use layout::{Fields, IoVector, Layout};
pub use memory::Memory;
pub use seccomp_agent_notify::{Arch, Errno};
pub use walk::{MAX_BYTES, MAX_IO_VECTORS, MAX_STRINGS, PATH_MAX, Source};
pub use writer::{WriteError, Writer};
