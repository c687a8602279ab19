//! The kernel's seccomp user-notification ABI (`seccomp_unotify(2)`), made safe.
//!
//! A seccomp filter that answers a system call with `SECCOMP_RET_USER_NOTIF` puts the calling task to sleep and
//! hands a *notification* to whoever holds the filter's *listener*, a file descriptor. This crate is that
//! conversation and nothing else:
//!
//! - [`filter`] creates a listener, by installing a filter on the calling thread;
//! - [`Listener`] receives a [`Notification`] into a [`Slot`] of a [`SlotTable`], checks that it is still
//!   valid, hands in descriptors and sends the [`Response`];
//! - [`Task`] is the caller, held by a pidfd so that a signal cannot reach somebody else;
//! - [`Features`] says which of the newer parts of the ABI the running kernel has;
//! - [`interrupt`] gets a thread out of a receive that nobody answers.
//!
//! Each function is one system call. What a notification *means* is the business of the crates above.
//!
//! ```
//! use seccomp_agent_notify::{Errno, Features, Listener, Response, SlotTable, filter};
//! use seccomp_agent_syscall::{Arch, Syscall};
//!
//! let getppid = Syscall::named(Arch::native(), "getppid").unwrap();
//! let (send, receive) = std::sync::mpsc::channel();
//! // A filter belongs to the thread that installs it: this thread is the container.
//! let caller = std::thread::spawn(move || {
//!     let fd = filter::install(&filter::notifying(&[getppid]), filter::Flags::empty()).unwrap();
//!     send.send(fd).unwrap();
//!     nix::unistd::getppid().as_raw()
//! });
//!
//! let listener = Listener::new(receive.recv().unwrap()).unwrap();
//! listener.set_sync_wake_up().ok(); // Linux 6.6
//! let mut slot = SlotTable::new(1).unwrap().take().unwrap();
//! let notification = listener.receive(&mut slot).unwrap();
//! assert_eq!(notification.syscall.name(), Some("getppid"));
//! listener.respond(notification.id, Response::Return(42)).unwrap();
//! assert_eq!(caller.join().unwrap(), 42);
//! ```
pub mod filter;
pub mod interrupt;

mod features;
mod ioctl;
mod listener;
mod notification;
mod slot;
mod task;

pub use features::Features;
pub use listener::{Listener, NotAListener, ReceiveError};
pub use notification::{Id, Notification, Response};
pub use rustix::io::Errno;
pub use seccomp_agent_syscall::{Arch, Syscall};
pub use slot::{Slot, SlotState, SlotTable};
pub use task::{Task, TaskError};
