//! The system calls that mount a new file system step by step (`fsopen(2)` and those that follow), by descriptors.
//!
//! Where `mount(2)` is one call, here the caller opens a *context*, configures it, makes a *detached mount* of it,
//! and attaches that. What has been asked for so far has to be where the caller cannot change it: the real context
//! stays with the agent, and the caller gets a *handle*, a descriptor that stands for it. What it gets of the
//! mount is its root, open as a directory: the kernel hands in no descriptor that is `O_PATH`.

mod context;
mod detached;
mod table;

use std::os::fd::BorrowedFd;

use seccomp_agent_nsenter::Caller;
use seccomp_agent_registry::{Call, Errno, Handler, ReadError, Verdict};

use crate::emulate::{Failure, emulate};
use table::Table;

/// `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `mount_setattr(2)` and `move_mount(2)` for a new procfs: what
/// [`Mount`](crate::Mount) is for `mount(2)`, and with the same limits. `mount(8)` of util-linux 2.39 and later
/// uses them.
///
/// **Grants** what takes `CAP_SYS_ADMIN`, for this one file system, from its context to its first place. The
/// mount is nosuid, nodev and noexec whatever the caller asks for or clears. Everything else continues: contexts
/// of other file systems, and mounts that were not made here or have been attached.
///
/// **Differs** from the kernel in what the descriptors are. That of `fsopen` is the end of a pipe: it has no messages
/// to read (EBADF, not ENODATA), and is a context only in calls that this handler gets, of tasks that share the
/// listener; others, whom it is handed to, are refused. That of `fsmount` is a directory that can be read, not
/// `O_PATH`.
///
/// **Cannot know** when a detached mount is closed without having been attached: it stays until as many newer ones
/// are there as are kept, or until the container has ended. Nor whether a caller that is interrupted has taken
/// note of a new descriptor.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MountApi;

impl MountApi {
    /// The calls that it answers.
    pub const CALLS: [&str; 5] = ["fsopen", "fsconfig", "fsmount", "mount_setattr", "move_mount"];

    /// The one that is limited to procfs.
    pub const fn procfs() -> Self {
        Self
    }
}

impl Handler for MountApi {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if call.tid() == 0 {
            // Its arguments cannot be read; most are none of ours.
            return Verdict::Continue;
        }
        emulate(call, |call| {
            let answer = match call.syscall().name() {
                Some("fsopen") => context::open,
                Some("fsconfig") => context::configure,
                Some("fsmount") => detached::make,
                Some("mount_setattr") => detached::change,
                Some("move_mount") => detached::attach,
                _ => return Ok(Verdict::Continue),
            };
            answer(call, &call.container().keep(Table::default))
        })
    }

    fn name(&self) -> &'static str {
        "mount"
    }
}

/// The caller, if what is granted counts for it: one in a user namespace of its own continues.
fn caller(call: &Call<'_>) -> Result<Option<Caller>, Failure> {
    let caller = Caller::open(call.tid())?;
    Ok(caller.is_in_our_user_namespace().then_some(caller))
}

/// A descriptor argument, looked up among the caller's: `None` for what it does not have, which the kernel will say.
fn descriptor(caller: &Caller, fd: i32) -> Option<std::os::fd::OwnedFd> {
    caller.open_descriptor(fd).ok()
}

/// Gives the caller a descriptor, whose number is the answer.
fn hand_in(call: &Call<'_>, fd: BorrowedFd<'_>, closes_on_exec: bool) -> Result<Verdict, Failure> {
    let listener = call.listener().ok_or(Errno::INTR)?;
    // First the descriptor, then the answer: both at once can lose the descriptor and still succeed.
    let number = listener.add_fd(call.notification().id, fd, closes_on_exec);
    number.map(|number| Verdict::Return(number.into())).map_err(|errno| match errno {
        Errno::NOENT => Errno::INTR.into(),
        other => other.into(),
    })
}

/// Strings of these calls that are too long are EINVAL, as `strndup_user` of the kernel has it.
fn too_long_is_invalid(error: ReadError) -> Failure {
    match error {
        ReadError::Unterminated { .. } => Errno::INVAL.into(),
        other => other.into(),
    }
}
