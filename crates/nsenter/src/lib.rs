//! Acting as another task: its root, directory, umask, credentials and namespaces, for one closure, then back.
//!
//! An agent that does for a container what it may not do itself must not do it as itself. A path means what it
//! means to the *caller*; a new file belongs to the caller and has the mode that its umask leaves; what the
//! caller may not do stays forbidden. This crate makes the calling **thread** the caller: no process is created,
//! and no other thread notices. Only a caller with a user namespace of its own takes a process, since a thread cannot
//! join one: a helper, kept for as long as the container lives.
//!
//! - [`Caller::open`] opens and reads what the caller is: root, working directory, [`Credentials`], namespaces;
//!   [`Caller::base`] opens a directory argument.
//! - [`Caller::act`] asks whether the caller still waits, takes all of it on, runs a closure, and takes it off
//!   again. It grants capabilities beyond the caller's own by name, for that one call.
//! - A [`Scene`] is what the closure gets: the ways to walk the caller's paths without ever leaving its root.
//! - An [`EntryPath`] is a path taken apart for calls that make something; a [`Target`] is a file that exists,
//!   named by a path or by a descriptor.
//! - A [`Keeper`] is on whose behalf helpers are kept: [`Caller::open_kept`] finds the one for the caller's user
//!   namespace, where [`Caller::act`] then runs the closure, in shared memory. They end with the last keeper.
//!   [`Caller::act_outside`] is for what takes a capability outside all containers.
//! - A [`MountNamespace`] is where the caller's mounts are: it lists, copies, attaches, changes and unmounts them, by
//!   descriptors. [`Scene::join`] moves to other namespaces that a file system depends on. [`lock_tree`] covers entries
//!   of what is to be mounted so that nobody can take the covers off.
//! - A [`LoneDevice`] is a block device to be mounted, where nobody can put another in its place.
//! - [`open_host_file`] opens what a caller is to be handed of the host, with no way beyond it; [`clone_host_node`]
//!   makes a device of the host something to mount.
//! - [`call_while`] makes a call that may wait for ever, until nobody wants it any more.
//!
//! The order matters: everything is opened and read **before** the notification's validity is asked for, since a
//! thread id is no identity. [`Caller::act`] asks at the right moment.
//!
//! ```no_run
//! use rustix::fs::{Mode, mkdirat};
//! use seccomp_agent_nsenter::{Caller, Capabilities, EntryPath, Error};
//!
//! # fn is_valid() -> bool { true }
//! # let (tid, dirfd, path, mode) = (1, 3, c"a/b", 0o777);
//! let caller = Caller::open(tid)?;
//! let base = caller.base(dirfd, path)?;
//! let path = EntryPath::new(path);
//! caller.act(is_valid, Capabilities::empty(), |scene| {
//!     let place = scene.place(&base, &path)?;
//!     mkdirat(place.directory(), place.name(), Mode::from_raw_mode(mode))
//! })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! It takes `CAP_SYS_PTRACE`, `CAP_SYS_CHROOT`, `CAP_SETUID` and `CAP_SETGID`; mounting and helpers take `CAP_SYS_ADMIN`;
//! and nobody is granted what the agent does not have.
//!
//! What cannot be taken on: the caller's security label and Landlock domain, its resource limits, and the
//! memory accounting of what is made for it. While it acts, the thread's parent-death signal is reset and the
//! process may become not dumpable, as the kernel does whenever credentials change. Starting a helper makes it so:
//! that keeps the helper's container from looking into the memory that it shares with us. With `fs.suid_dumpable` of
//! 1, which undoes it, there are no helpers.

mod caller;
mod change;
mod detached;
mod device;
mod entry;
mod error;
mod helper;
mod home;
mod host_file;
mod id_map;
mod keeper;
mod mount;
mod mount_id;
mod namespaces;
mod own;
mod process;
mod raw;
mod scene;
mod status;
mod target;
mod walk;
mod workshop;

pub use caller::{AT_FDCWD, Base, Caller};
pub use detached::change_detached_mount;
pub use device::LoneDevice;
pub use entry::EntryPath;
pub use error::Error;
pub use host_file::{clone_host_node, find_host_file, open_host_file};
pub use keeper::Keeper;
pub use mount::{Change, MountNamespace, PidNamespace};
pub use mount_id::{MountId, Mounted};
pub use namespaces::{Namespace, NamespaceKind};
pub use process::call_while;
pub use rustix::thread::CapabilitySet as Capabilities;
pub use scene::{Place, Scene};
pub use status::Credentials;
pub use target::Target;
pub use workshop::{Cover, Extent, lock_tree};
