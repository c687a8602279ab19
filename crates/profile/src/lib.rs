//! What a seccomp profile means.
//!
//! A profile is a text that names system calls. The kernel runs a program that sees numbers. Between the two lie the
//! habits of the container runtimes, and this crate holds each step as a value of its own:
//!
//! - A [`Profile`] is what its author wrote: read from the JSON of the OCI runtime specification
//!   ([`Profile::from_json`]), or built in code.
//! - A [`NormalForm`] is what that means on one machine ([`Profile::resolve`]): architecture, number and arguments lead to
//!   an [`Action`]. [`Warning`]s tell what the author probably did not mean.
//! - A [`Program`] is the same for the kernel ([`compile()`]): classic BPF, checked by the kernel's rules, and run by an
//!   interpreter ([`Program::run`]), so that what a filter does can be asked without loading it.
//!
//! Nothing here touches the machine that it runs on: a profile for `s390x` can be examined on `x86_64`.
//!
//! ```
//! use seccomp_agent_profile::{Action, Profile, SeccompData, compile};
//! use seccomp_agent_syscall::{Arch, Syscall};
//!
//! let profile = Profile::from_json(br#"{
//!     "defaultAction": "SCMP_ACT_ALLOW",
//!     "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
//! }"#)?;
//! let meaning = profile.resolve(Arch::X86_64).normal_form;
//! let mkdir = Syscall::named(Arch::X86_64, "mkdir").unwrap();
//! assert_eq!(meaning.action_for(mkdir, &[0; 6]), Action::Notify);
//!
//! let filter = compile(&meaning)?;
//! assert_eq!(filter.run(&SeccompData::new(mkdir, [0; 6])), Action::Notify);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod action;
mod assembler;
mod compile;
mod condition;
mod data;
mod error;
mod instruction;
mod interpret;
mod json;
mod multiplex;
mod normal;
mod profile;
mod program;
mod resolve;
mod warning;

pub use action::Action;
pub use compile::compile;
pub use condition::{Comparison, Condition};
pub use data::{ByteOrder, SeccompData};
pub use error::ParseError;
pub use instruction::Instruction;
pub use json::MAX_PROFILE_BYTES;
pub use normal::{Case, Decision, NormalForm};
pub use profile::{Flag, Profile, Rule};
pub use program::{MAX_INSTRUCTIONS, Program, ProgramError};
pub use resolve::Resolution;
pub use warning::Warning;
