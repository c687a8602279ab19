//! The system calls that mount a new file system step by step (`fsopen(2)` and those that follow), by descriptors.
//!
//! Where `mount(2)` is one call, here the caller opens a *context*, configures it, makes a *detached mount* of it,
//! and attaches that. What has been asked for so far has to be where the caller cannot change it: the real context
//! stays with the agent, and the caller gets a *handle*, a descriptor that stands for it. What it gets of the
//! mount is its root, open as a directory: the kernel hands in no descriptor that is `O_PATH`.

mod attached;
mod clone;
mod context;
mod detached;
mod table;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use seccomp_agent_nsenter::Caller;
use seccomp_agent_registry::{Call, Errno, ReadError, Verdict};

use self::table::Table;
use super::mounter::Mounter;
use super::ours::{Made, number};
use super::{Mount, refuse};
use crate::emulate::Failure;

/// Answers one of these calls.
pub(super) fn answer(call: &Call<'_>, mount: &Mount) -> Result<Verdict, Failure> {
    let (table, grants) = (call.container().keep(Table::default), &mount.file_systems);
    match call.syscall().name() {
        Some("fsopen") => context::open(call, &table, grants),
        Some("fspick") => attached::pick(call, &table, mount),
        Some("fsconfig") => context::configure(call, &table, grants),
        Some("fsmount") => detached::make(call, &table, grants),
        Some("mount_setattr") => detached::change(call, &table, mount),
        Some("move_mount") => detached::attach(call, &table, mount),
        Some("open_tree") if mount.binds => clone::clone(call, &table),
        _ => Ok(Verdict::Continue),
    }
}

/// Why a call is not there.
const BY_MOUNT: &str = "this is done by mount only";

/// A descriptor argument, looked up among the caller's: `None` for what it does not have, which the kernel will say.
fn descriptor(caller: &Caller, fd: i32) -> Option<OwnedFd> {
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

/// Keeps a detached mount, and gives the caller its root.
fn give(
    call: &Call<'_>,
    table: &Table,
    mounter: &Mounter,
    mount: OwnedFd,
    made: Made,
    root: &OwnedFd,
    closes_on_exec: bool,
) -> Result<Verdict, Failure> {
    let mount = table.insert_mount(mount, made, number(&mounter.namespace)?)?;
    let handed = hand_in(call, root.as_fd(), closes_on_exec);
    if handed.is_err() {
        table.take_mount(&mount);
    }
    handed
}

/// Strings of these calls that are too long are EINVAL, as `strndup_user` of the kernel has it.
fn too_long_is_invalid(error: ReadError) -> Failure {
    match error {
        ReadError::Unterminated { .. } => Errno::INVAL.into(),
        other => other.into(),
    }
}
