//! Handlers that do for a container what it may not do itself, as the kernel would if it might.
//!
//! One file is one family of system calls. Each says what it grants, what it refuses and what it cannot know:
//!
//! | handler | calls | grants |
//! |---|---|---|
//! | [`Directories`] | `mkdir`, `mkdirat` | nothing but a suffix to the name |
//! | [`Nodes`] | `mknod`, `mknodat` | `CAP_MKNOD` for listed devices, or the host's nodes |
//! | [`Modes`] | `chmod`, `fchmod`, `fchmodat`, `fchmodat2` | `CAP_FOWNER`, `CAP_FSETID` |
//! | [`Owners`] | `chown`, `lchown`, `fchown`, `fchownat` | `CAP_CHOWN` towards listed ids |
//! | [`Attributes`] | `setxattr`, `removexattr` and their `l` and `f` forms | attributes by name prefix |
//! | [`Openings`] | `open`, `openat`, `openat2`, `creat` | listed files, devices and directories of the host |
//! | [`Mount`] | `mount`, `umount`, `umount2` | listed file systems, binds, and changes of those mounts |
//! | [`Sysinfo`] | `sysinfo` | nothing: it tells of the container's limits |
//! | [`Executions`] | `execve`, `execveat` | nothing: it delays and alerts |
//! | [`AnyCall`] | any | nothing: it answers without looking |
//! | [`Freeze`] | any | nothing: it freezes the container |
//!
//! [`Audit`] is a layer that writes down what they decide.
//!
//! None of them is on until a registry is told so; [`demo_basic`] is a registry that uses all.
//!
//! # The next handler
//! A handler that acts copies its arguments and acts as the caller with what it grants. [`emulate_for`] opens the
//! caller and turns what goes wrong into the answer:
//!
//! ```
//! use rustix::fs::symlinkat;
//! use seccomp_agent_handlers::{Failure, emulate_for};
//! use seccomp_agent_nsenter::{Base, Caller, Capabilities, EntryPath};
//! use seccomp_agent_registry::{Call, Registry, Verdict};
//!
//! /// `symlink`, with no grant: as the caller could have done itself.
//! fn link(call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
//!     let content = call.memory().path(call.arg(0))?;
//!     let path = EntryPath::new(&call.memory().path(call.arg(1))?);
//!     caller.act(|| call.is_valid(), Capabilities::empty(), |scene| {
//!         let place = scene.place(&Base::cwd(), &path)?;
//!         symlinkat(&content, place.directory(), place.name())
//!     })?;
//!     Ok(Verdict::Return(0))
//! }
//!
//! let mut registry = Registry::new();
//! registry.on("symlinkat", |call: &Call<'_>| emulate_for(call, link))?;
//! # Ok::<(), seccomp_agent_registry::UnknownSyscall>(())
//! ```
mod any_call;
mod arguments;
mod attributes;
mod audit;
mod cgroup;
mod demo;
mod directories;
mod emulate;
mod executions;
mod freeze;
mod host_nodes;
mod kill_container;
mod limit;
mod modes;
mod mount;
mod nodes;
mod openings;
mod owners;
mod pattern;
mod sysinfo;

pub use any_call::AnyCall;
pub use arguments::Numbers;
pub use attributes::Attributes;
pub use audit::Audit;
pub use cgroup::{CgroupError, cgroups_in_sight};
pub use demo::demo_basic;
pub use directories::Directories;
pub use emulate::{Failure, emulate, emulate_for, open_caller};
pub use executions::Executions;
pub use freeze::Freeze;
pub use kill_container::KillContainer;
pub use modes::Modes;
pub use mount::{Allowed, FileSystem, FileSystemGrant, Mount};
pub use nodes::{Devices, Nodes};
pub use openings::{HostFile, Openings, RelativePath};
pub use owners::Owners;
pub use pattern::Pattern;
pub use seccomp_agent_nsenter::Capabilities;
pub use sysinfo::Sysinfo;
