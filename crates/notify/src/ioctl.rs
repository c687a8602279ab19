//! The operations of a listener (`include/uapi/linux/seccomp.h`) and of its descriptor, one safe function each.

use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};

const GROUP: u8 = b'!';
const NOTIF_RECV: Opcode = opcode::read_write::<libc::seccomp_notif>(GROUP, 0);
const NOTIF_SEND: Opcode = opcode::read_write::<libc::seccomp_notif_resp>(GROUP, 1);
const NOTIF_ID_VALID: Opcode = opcode::write::<u64>(GROUP, 2);
const NOTIF_ADDFD: Opcode = opcode::write::<libc::seccomp_notif_addfd>(GROUP, 3);
const NOTIF_SET_FLAGS: Opcode = opcode::write::<u64>(GROUP, 4);

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6.
const SYNC_WAKE_UP: usize = 1;

/// `SECCOMP_IOCTL_NOTIF_RECV`. The kernel refuses a buffer that is not zero.
pub(crate) fn receive(listener: BorrowedFd<'_>, notif: &mut libc::seccomp_notif) -> io::Result<()> {
    // SAFETY: `NOTIF_RECV` reads and writes one `struct seccomp_notif`, which `notif` is, borrowed for the call.
    let operation = unsafe { Updater::<NOTIF_RECV, _>::new(notif) };
    // SAFETY: the opcode and its argument type belong together, see above; other kinds of descriptor
    // answer the `!` group with ENOTTY.
    unsafe { ioctl(listener, operation) }
}

/// `SECCOMP_IOCTL_NOTIF_SEND`.
pub(crate) fn send(listener: BorrowedFd<'_>, response: &mut libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: `NOTIF_SEND` reads one `struct seccomp_notif_resp`, which `response` is, borrowed for the call.
    let operation = unsafe { Updater::<NOTIF_SEND, _>::new(response) };
    // SAFETY: the opcode and its argument type belong together, see above.
    unsafe { ioctl(listener, operation) }
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`.
pub(crate) fn id_valid(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    // SAFETY: `NOTIF_ID_VALID` reads one `__u64`, which the setter owns.
    let operation = unsafe { Setter::<NOTIF_ID_VALID, u64>::new(id) };
    // SAFETY: the opcode and its argument type belong together, see above.
    unsafe { ioctl(listener, operation) }
}

/// `SECCOMP_IOCTL_NOTIF_ADDFD`: the number of the new descriptor in the caller.
#[allow(clippy::cast_lossless)] // The request's type differs between C libraries.
pub(crate) fn add_fd(listener: BorrowedFd<'_>, request: libc::seccomp_notif_addfd) -> io::Result<u32> {
    // SAFETY: a plain system call; `request` is a live `struct seccomp_notif_addfd`, the type that the opcode
    // names, and the kernel only reads it.
    let number = unsafe { libc::ioctl(raw(listener), NOTIF_ADDFD as libc::Ioctl, &raw const request) };
    u32::try_from(number).map_err(|_| last_error())
}

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` with `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
pub(crate) fn set_sync_wake_up(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `NOTIF_SET_FLAGS` takes the flags by value, despite what its number says.
    let operation = unsafe { IntegerSetter::<NOTIF_SET_FLAGS>::new_usize(SYNC_WAKE_UP) };
    // SAFETY: the opcode and its argument type belong together, see above.
    unsafe { ioctl(listener, operation) }
}

/// The process that signals about a file go to (`F_GETOWN`): 0 where there is none, or none that can be seen, and
/// negative for a process group (of which 1 is an error).
pub(crate) fn owner(file: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: a plain system call on integers; it touches no memory of ours.
    let owner = unsafe { libc::fcntl(raw(file), libc::F_GETOWN) };
    if owner == -1 { Err(last_error()) } else { Ok(owner) }
}

/// `F_SETOWN`.
pub(crate) fn set_owner(file: BorrowedFd<'_>, process: i32) -> io::Result<()> {
    // SAFETY: a plain system call on integers; it touches no memory of ours.
    let set = unsafe { libc::fcntl(raw(file), libc::F_SETOWN, process) };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// `kcmp(2)`, of two descriptors of this process.
pub(crate) fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    /// `KCMP_FILE` of `include/uapi/linux/kcmp.h`.
    const KCMP_FILE: libc::c_int = 0;
    let pid = std::process::id();
    // SAFETY: a plain system call on integers; it touches no memory of ours.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, raw(one), raw(other)) };
    if order < 0 { Err(last_error()) } else { Ok(order == 0) }
}

fn raw(fd: BorrowedFd<'_>) -> std::os::fd::RawFd {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

fn last_error() -> io::Errno {
    io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::IO)
}
