//! The system calls that make processes, one a function.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// A new child.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Which side of a fork one is on.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old one; the new one has this id.
    Parent(Pid),
}

/// A null-terminated array of C strings, as `execve(2)` takes it, made before there is a child.
pub(crate) struct Strings<'a> {
    pointers: Vec<*const libc::c_char>,
    _strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    pub(crate) fn new<S: AsRef<CStr> + 'a>(strings: &'a [S]) -> Self {
        let pointers = strings.iter().map(|string| string.as_ref().as_ptr());
        Self { pointers: pointers.chain([std::ptr::null()]).collect(), _strings: std::marker::PhantomData }
    }
}

/// `clone3(2)`: a child in mount, pid, ipc and uts namespaces of its own that executes `image`, and keeps
/// `inherited` open. Safe in a process of many threads: between the two calls the child only changes a flag of
/// that descriptor.
///
/// The caller blocks its signals, for the child has its handlers until it executes. A child that cannot execute
/// ends; its end of `inherited` is closed then.
pub(crate) fn spawn_in_namespaces(
    image: BorrowedFd<'_>,
    arguments: &Strings<'_>,
    environment: &Strings<'_>,
    inherited: BorrowedFd<'_>,
) -> Result<Child, Errno> {
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let mut pidfd: RawFd = -1;
    let arguments_of_clone = [
        u64::from((namespaces | libc::CLONE_PIDFD).cast_unsigned()),
        (&raw mut pidfd).addr() as u64,
        0, // child_tid
        0, // parent_tid
        u64::from(libc::SIGCHLD.cast_unsigned()),
        0, // stack: that of the caller, copied
        0, // stack_size
        0, // tls
    ];
    (&raw mut pidfd).expose_provenance();
    // SAFETY: the array is `struct clone_args` in its first version, of 64 bytes; the kernel writes one `int` to
    // `pidfd`, which lives. Without CLONE_VM the child has a copy of everything, and below makes nothing but
    // system calls on values that exist already: no allocation, no lock, no return.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, arguments_of_clone.as_ptr(), size_of_val(&arguments_of_clone))
    };
    match pid {
        0 => execute(image, arguments, environment, inherited),
        1.. => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so this is a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid, pidfd })
        }
        _ => Err(last_error()),
    }
}

/// `fork(2)`, but both sides go on with **one** table of descriptors (`CLONE_FILES`) until one of them executes:
/// what the child opens, the parent has. Memory is copied. For a process of one thread, which the container's
/// init is: nothing can hold a lock that the child would need.
pub(crate) fn fork_sharing_descriptors() -> Result<Fork, Errno> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has a copy of all memory, its stack included (the null stack pointer);
    // the other pointers are for flags that are not set. The process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => Ok(Fork::Child),
        1.. => i32::try_from(pid).ok().and_then(Pid::from_raw).map(Fork::Parent).ok_or(Errno::SRCH),
        _ => Err(last_error()),
    }
}

/// `execve(2)`: returns only if it failed. No other system call is made.
pub(crate) fn execve(path: &CStr, arguments: &Strings<'_>, environment: &Strings<'_>) -> Errno {
    // SAFETY: the path and both arrays are null-terminated, and live as long as their lifetimes say.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_error()
}

/// `_exit(2)`: no destructor runs. If even that is notified and refused, a fault ends the process.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: ends the process; memory and descriptors of nobody else are touched.
    unsafe { libc::syscall(libc::SYS_exit_group, 125) };
    std::process::abort()
}

/// Takes over a descriptor that this process was started with.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: a system call on integers; that it succeeds proves the number to be a descriptor.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(last_error());
    }
    // SAFETY: it is open, and nobody but the caller, who was told its number, knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes a descriptor close-on-exec, whoever owns it. One that is not open is no error.
pub(crate) fn close_on_exec(number: RawFd) {
    // SAFETY: a system call on integers.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// `signal(2)` with `SIG_DFL`: the standard library ignores SIGPIPE, and what is ignored stays so in a program
/// that is executed.
pub(crate) fn default_sigpipe() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

fn execute(
    image: BorrowedFd<'_>,
    arguments: &Strings<'_>,
    environment: &Strings<'_>,
    inherited: BorrowedFd<'_>,
) -> ! {
    // SAFETY: a system call on integers; clears close-on-exec in the child's copy of the table.
    unsafe { libc::fcntl(inherited.as_raw_fd(), libc::F_SETFD, 0) };
    // SAFETY: the arrays are null-terminated and were made before the clone.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    // SAFETY: ends the process and returns nowhere; no destructor of the parent's runs.
    unsafe { libc::_exit(125) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
