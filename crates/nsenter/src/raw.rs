//! The system calls that no safe wrapper covers, or whose wrapper hides whether they worked.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, setfsgid, setfsuid};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;

/// Sets the calling thread's file-system user (`setfsuid(2)`), which itself says nothing when it fails.
pub(crate) fn set_fsuid(uid: Uid) -> Result<(), Errno> {
    let uid = nix::unistd::Uid::from_raw(uid.as_raw());
    setfsuid(uid);
    // No user has this number, so this one changes nothing and returns what is set.
    if setfsuid(nix::unistd::Uid::from_raw(u32::MAX)) == uid { Ok(()) } else { Err(Errno::PERM) }
}

/// Sets the calling thread's file-system group (`setfsgid(2)`).
pub(crate) fn set_fsgid(gid: Gid) -> Result<(), Errno> {
    let gid = nix::unistd::Gid::from_raw(gid.as_raw());
    setfsgid(gid);
    if setfsgid(nix::unistd::Gid::from_raw(u32::MAX)) == gid { Ok(()) } else { Err(Errno::PERM) }
}

/// The number of `fchmodat2(2)`, the same on every architecture that Rust runs on.
const FCHMODAT2: libc::c_long = 452;

/// `fchmodat2(2)` with `AT_EMPTY_PATH`. ENOSYS before Linux 6.6.
pub(crate) fn change_mode(file: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    let (fd, mode) = (file.as_raw_fd(), mode.as_raw_mode());
    // SAFETY: a plain system call; the path is a NUL-terminated literal.
    let outcome = unsafe { libc::syscall(FCHMODAT2, fd, c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    if outcome == 0 { Ok(()) } else { Err(crate::home::from_nix(nix::Error::last())) }
}

/// `struct mount_attr` of `include/uapi/linux/mount.h`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a detached mount read-only (`mount_setattr(2)`). ENOSYS before Linux 5.12.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    const MOUNT_SETATTR: libc::c_long = 442;
    const READ_ONLY: u64 = 1;
    let attributes = MountAttributes { set: READ_ONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let (fd, size) = (mount.as_raw_fd(), size_of::<MountAttributes>());
    // SAFETY: a plain system call; the path is a NUL-terminated literal, and `attributes` is a `struct
    // mount_attr` of the size that is said, alive for the call and only read.
    let outcome = unsafe {
        libc::syscall(MOUNT_SETATTR, fd, c"".as_ptr(), libc::AT_EMPTY_PATH, &raw const attributes, size)
    };
    if outcome == 0 { Ok(()) } else { Err(crate::home::from_nix(nix::Error::last())) }
}

/// Ends the calling thread, and nothing else of the process, at once.
///
/// Nothing on its stack is dropped, so what it held stays held: better a call that is never answered than a
/// thread that serves with a stranger's root or identity.
pub(crate) fn end_thread() -> ! {
    const LAST_WORDS: &[u8] = b"a thread could not leave a container and ends; one call stays unanswered\n";
    // A plain write to a descriptor that is open: it looks nothing up in the container.
    let _ = nix::unistd::write(std::io::stderr(), LAST_WORDS);
    loop {
        // SAFETY: ends this thread only. Its stack stays mapped while its handle is not joined, and no frame on
        // it runs again; whoever joins it finds no result and panics rather than reading one.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// The stack of [`fsopen_in_child`]'s child, which makes one system call.
const STACK: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; STACK]>);

/// `fsopen("proc")` in a child that shares this process's memory and descriptors and is born into the pid
/// namespace that the thread's children go to: a file system context of that namespace.
///
/// The child is visible in that namespace while it lives. It takes no signal but SIGKILL, whose sender gets
/// EINTR for its call, and SIGSTOP, whose sender waits.
pub(crate) fn fsopen_proc_in_child() -> Result<OwnedFd, Errno> {
    extern "C" fn child(outcome: *mut c_void) -> libc::c_int {
        // SAFETY: the parent passes a pointer to an `AtomicI32` that outlives the child, see below.
        let outcome = unsafe { &*outcome.cast::<AtomicI32>() };
        // SAFETY: the name is a NUL-terminated literal; the flag is FSOPEN_CLOEXEC.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 1) };
        // The child has errno in common with its waiting parent.
        let errno = nix::Error::last_raw();
        outcome.store(i32::try_from(fd).ok().filter(|fd| *fd >= 0).unwrap_or(-errno), Ordering::Relaxed);
        0
    }

    let outcome = AtomicI32::new(-libc::EINTR);
    let mut stack = Stack(MaybeUninit::uninit());
    let top = (&raw mut stack).wrapping_add(1).cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let mut before = SigSet::empty();
    // The container could send the child signals, and it would run our handlers, in our memory.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(crate::home::from_nix)?;
    // SAFETY: CLONE_VFORK suspends this thread until the child is gone, so `stack` and `outcome` outlive it and
    // nobody else touches them; `top` is the aligned end of a stack that is large enough for one system call;
    // the child calls nothing that allocates, locks, panics or unwinds.
    let pid = unsafe { libc::clone(child, top, flags, (&raw const outcome).cast_mut().cast()) };
    let errno = nix::Error::last();
    let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    if pid < 0 {
        return Err(crate::home::from_nix(errno));
    }
    // The child sends no SIGCHLD, so only __WALL finds it.
    while waitpid(Pid::from_raw(pid), Some(WaitPidFlag::__WALL)) == Err(nix::Error::EINTR) {}
    let fd = take(outcome.into_inner());
    restored.map_err(crate::home::from_nix)?;
    fd
}

fn take(outcome: RawFd) -> Result<OwnedFd, Errno> {
    if outcome < 0 {
        return Err(Errno::from_raw_os_error(-outcome));
    }
    // SAFETY: a non-negative outcome is the descriptor that `fsopen` just made in the table that the child
    // shared with us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(outcome) })
}
