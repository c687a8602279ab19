//! The system calls that no safe wrapper covers, or whose wrapper hides whether they worked.

use std::ffi::c_void;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::{setfsgid, setfsuid};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

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

/// Makes a detached mount private, and sets and clears attributes of it (`mount_setattr(2)`). ENOSYS before Linux
/// 5.12.
pub(crate) fn change_mount(
    mount: BorrowedFd<'_>,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    mount_setattr(mount, 0, set, clear, libc::MS_PRIVATE, None)
}

/// Sets and clears attributes of a mount.
pub(crate) fn set_attributes(
    mount: BorrowedFd<'_>,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    mount_setattr(mount, 0, set, clear, 0, None)
}

/// Sets the propagation of a mount.
pub(crate) fn set_propagation(
    mount: BorrowedFd<'_>,
    propagation: MountPropagationFlags,
) -> Result<(), Errno> {
    let none = MountAttrFlags::empty();
    mount_setattr(mount, 0, none, none, propagation.bits().into(), None)
}

/// Makes a detached mount and all below it private.
pub(crate) fn make_private(tree: BorrowedFd<'_>) -> Result<(), Errno> {
    let none = MountAttrFlags::empty();
    mount_setattr(tree, libc::AT_RECURSIVE, none, none, libc::MS_PRIVATE, None)
}

/// Has the ids in a detached mount be those of a user namespace. EINVAL where its file system cannot.
pub(crate) fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let none = MountAttrFlags::empty();
    mount_setattr(mount, 0, none, none, 0, Some(user_namespace))
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    flags: libc::c_int,
    set: MountAttrFlags,
    clear: MountAttrFlags,
    propagation: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    const MOUNT_SETATTR: libc::c_long = 442;
    const ID_MAPPED: u64 = 0x0010_0000;
    let namespace = user_namespace.map_or(0, |namespace| namespace.as_raw_fd());
    let id_mapped = if user_namespace.is_some() { ID_MAPPED } else { 0 };
    let attributes = MountAttributes {
        set: u64::from(set.bits()) | id_mapped,
        clear: clear.bits().into(),
        propagation,
        user_namespace: u64::from(namespace.cast_unsigned()),
    };
    let (fd, size) = (mount.as_raw_fd(), size_of::<MountAttributes>());
    let flags = flags | libc::AT_EMPTY_PATH;
    // SAFETY: a plain system call; the path is a NUL-terminated literal, and `attributes` is a `struct
    // mount_attr` of the size that is said, alive for the call and only read.
    let outcome =
        unsafe { libc::syscall(MOUNT_SETATTR, fd, c"".as_ptr(), flags, &raw const attributes, size) };
    if outcome == 0 { Ok(()) } else { Err(crate::home::from_nix(nix::Error::last())) }
}

/// The user namespace that a namespace belongs to (`ioctl_ns(2)`, `NS_GET_USERNS`).
pub(crate) fn owner_of(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: a plain system call without an argument; of what is no namespace it fails.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return Err(crate::home::from_nix(nix::Error::last()));
    }
    // SAFETY: the kernel has just opened it for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}

/// Ends the calling thread, and nothing else of the process, at once.
///
/// Nothing on its stack is dropped, so what it held stays held: better a call that is never answered than a
/// thread that serves with a stranger's root or identity.
pub(crate) fn end_thread() -> ! {
    const LAST_WORDS: &[u8] = b"a thread could not leave a container and ends; one call stays unanswered\n";
    // A plain write to a descriptor that is open: it looks nothing up in the container.
    let _ = nix::unistd::write(std::io::stderr(), LAST_WORDS);
    exit()
}

/// `_exit(2)` of the calling thread: [`end_thread`] without a word.
pub(crate) fn exit() -> ! {
    loop {
        // SAFETY: ends this thread only. Its stack stays mapped while its handle is not joined, and no frame on
        // it runs again; whoever joins it finds no result and panics rather than reading one.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// `fsopen("proc")` inside a pid namespace: a file system context of that namespace. It takes `CAP_SYS_ADMIN`.
///
/// The namespace is that of whoever calls `fsopen`, so a process has to be born there. The container sees it
/// while it lives, and can kill or stop it at any moment; so it has nothing of ours but our memory:
///
/// - a *courier*, which nobody in the container sees, closes its copies of all descriptors but two, joins the
///   namespace for its children and starts the *opener* there;
/// - the opener shares the courier's table. It calls `fsopen`, which leaves the descriptor there, and ends;
/// - the courier sends the descriptor to us and ends, and with it the table.
///
/// They take no signal but SIGKILL, whose sender gets EINTR for its call, and SIGSTOP, whose sender waits. When
/// this thread ends, they do.
pub(crate) fn fsopen_proc_in_child(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let job = Job {
        namespace: namespace.as_raw_fd(),
        socket: theirs.as_raw_fd(),
        outcome: AtomicI32::new(-libc::EINTR),
    };
    let mut stack = Stack::<{ 64 << 10 }>::new();
    let mut before = SigSet::empty();
    // The container could send signals, and they would run our handlers, in our memory.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(crate::home::from_nix)?;
    // SAFETY: `courier` takes a `Job`, and makes plain system calls only.
    let run = unsafe { run_child(courier, &job, &mut stack, 0) };
    let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    run?;
    restored.map_err(crate::home::from_nix)?;
    match job.outcome.into_inner() {
        errno if errno < 0 => Err(Errno::from_raw_os_error(-errno)),
        _ => receive_descriptor(ours.as_fd()),
    }
}

/// What courier and opener are told, and what becomes of it.
struct Job {
    namespace: RawFd,
    socket: RawFd,
    /// A descriptor in the courier's table, or a negative errno.
    outcome: AtomicI32,
}

impl Job {
    /// What a system call of a child said. It has errno in common with its waiting parent.
    fn note(&self, outcome: libc::c_long) -> bool {
        let errno = nix::Error::last_raw();
        self.outcome
            .store(i32::try_from(outcome).ok().filter(|fd| *fd >= 0).unwrap_or(-errno), Ordering::Relaxed);
        outcome >= 0
    }
}

/// Where the courier keeps the socket, and where the namespace; it has no other descriptors.
const SOCKET: RawFd = 0;
const NAMESPACE: RawFd = 1;

extern "C" fn courier(job: *mut c_void) -> libc::c_int {
    // SAFETY: `run_child` passes the `Job`, which outlives this process.
    let job = unsafe { &*job.cast::<Job>() };
    end_with_parent();
    let mut stack = Stack::<{ 16 << 10 }>::new();
    // Neither is in the other's way: Rust's runtime sees to it that the standard streams are open.
    let ready = job.note(place_at(job.socket, SOCKET))
        && job.note(place_at(job.namespace, NAMESPACE))
        && job.note(close_from(NAMESPACE + 1))
        && job.note(join_for_children(NAMESPACE));
    if !ready {
        return 0;
    }
    job.outcome.store(-libc::EINTR, Ordering::Relaxed);
    // SAFETY: `opener` takes a `Job`, and makes plain system calls only.
    let run = unsafe { run_child(opener, job, &mut stack, libc::CLONE_FILES) };
    if let Err(errno) = run {
        job.outcome.store(-errno.raw_os_error(), Ordering::Relaxed);
        return 0;
    }
    let opened = job.outcome.load(Ordering::Relaxed);
    if opened >= 0 {
        // SAFETY: open in this process's table, which nobody else has any more.
        let socket = unsafe { BorrowedFd::borrow_raw(SOCKET) };
        // SAFETY: as for `socket`.
        let opened = unsafe { BorrowedFd::borrow_raw(opened) };
        if let Err(errno) = send_descriptor(socket, opened) {
            job.outcome.store(-errno.raw_os_error(), Ordering::Relaxed);
        }
    }
    0
}

extern "C" fn opener(job: *mut c_void) -> libc::c_int {
    // SAFETY: `run_child` passes the `Job`, which outlives this process.
    let job = unsafe { &*job.cast::<Job>() };
    end_with_parent();
    // SAFETY: a plain system call; the name is a NUL-terminated literal; the flag is FSOPEN_CLOEXEC.
    job.note(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 1) });
    0
}

/// A child is killed when the thread that started it ends (`prctl(2)`, `PR_SET_PDEATHSIG`).
pub(crate) fn end_with_parent() {
    // SAFETY: a plain system call. It changes the calling process only, and cannot fail with these arguments.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// `dup3(2)`.
fn place_at(fd: RawFd, at: RawFd) -> libc::c_long {
    // SAFETY: a plain system call, in a courier: its table is a copy, and nothing in it is needed but what it
    // has placed.
    unsafe { libc::syscall(libc::SYS_dup3, fd, at, libc::O_CLOEXEC) }
}

/// `close_range(2)` to the end of the table.
fn close_from(first: RawFd) -> libc::c_long {
    // SAFETY: as for `place_at`.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }
}

/// `setns(2)` into a pid namespace.
fn join_for_children(namespace: RawFd) -> libc::c_long {
    // SAFETY: a plain system call. It changes the calling process only, and where its children are born.
    unsafe { libc::syscall(libc::SYS_setns, namespace, libc::CLONE_NEWPID) }
}

#[repr(C, align(16))]
struct Stack<const SIZE: usize>(MaybeUninit<[u8; SIZE]>);

impl<const SIZE: usize> Stack<SIZE> {
    const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

/// Runs `child` in a process that shares this one's memory and what `flags` say, and waits for its end.
///
/// # Safety
/// `child` takes a [`Job`]. It allocates nothing, takes no lock, does not unwind, and has enough of `stack`.
unsafe fn run_child<const SIZE: usize>(
    child: extern "C" fn(*mut c_void) -> libc::c_int,
    job: &Job,
    stack: &mut Stack<SIZE>,
    flags: libc::c_int,
) -> Result<(), Errno> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | flags;
    let top = (&raw mut *stack).wrapping_add(1).cast::<c_void>();
    // SAFETY: CLONE_VFORK suspends this thread until the child is gone, so `stack` and `job` outlive it and
    // nobody else touches the stack; `top` is its aligned end; the rest is the caller's promise.
    let pid = unsafe { libc::clone(child, top, flags, (&raw const *job).cast_mut().cast()) };
    if pid < 0 {
        return Err(crate::home::from_nix(nix::Error::last()));
    }
    // A child that sends no SIGCHLD is only found by __WALL.
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: a plain system call that writes nothing: both results are null.
    while unsafe { libc::syscall(libc::SYS_wait4, pid, nothing, libc::__WALL, nothing) } < 0
        && nix::Error::last_raw() == libc::EINTR
    {}
    Ok(())
}

/// Hands a descriptor to whoever has the socket's other end (`unix(7)`, `SCM_RIGHTS`).
fn send_descriptor(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_descriptor(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, flags)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // None where our own table is full.
    received.ok_or(Errno::MFILE)
}
