//! Linux system-call names and numbers, by architecture.
//!
//! A seccomp notification and a seccomp filter both see a system call as a pair: an architecture token
//! (`AUDIT_ARCH_*`) and a number. People and profiles see a name. [`Arch`] and [`Syscall`] translate, with no
//! dependency on the machine they run on, so that the kernel-facing crates and the profile tools agree on
//! every name.
//!
//! ```
//! use seccomp_agent_syscall::{Arch, Syscall};
//!
//! let mkdir = Syscall::named(Arch::X86_64, "mkdir").unwrap();
//! assert_eq!(mkdir.number, 83);
//! // The same number means another call to a 32-bit program.
//! assert_eq!(Syscall::new(Arch::X86, 83).name(), Some("symlink"));
//! ```
mod arch;
mod near;
mod table;
mod x32;

pub use arch::Arch;
pub use near::nearest;
pub use table::{Syscall, is_known_name};
