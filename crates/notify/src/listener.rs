use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::ioctl;
use crate::notification::{Id, Notification, Response};
use crate::slot::Slot;

/// What `/proc/self/fd/N` of a listener points to. A file of that name would be shown with a path before it.
const LISTENER_LINK: &[u8] = b"anon_inode:seccomp notify";

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, in the type of the response's field.
const FLAG_CONTINUE: u32 = 1;

/// A seccomp filter's listener. Dropping the last descriptor of one lets every call that the filter notifies,
/// those blocked now included, fail with ENOSYS.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// The descriptor is something else than a seccomp listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAListener {
    /// It is another kind of file.
    #[error("the descriptor is {0:?}, not a seccomp listener")]
    OtherFile(std::ffi::CString),
    /// What it is could not be found out.
    #[error("reading /proc/self/fd to identify the descriptor failed: {0}")]
    Unreadable(#[source] Errno),
}

/// Why [`Listener::receive`] returned without a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A signal interrupted the wait (EINTR).
    #[error("interrupted by a signal")]
    Interrupted,
    /// A caller died or was interrupted before its call could be received, or no task uses the filter any more
    /// (ENOENT). [`Listener::poll`] tells which.
    #[error("the caller is gone")]
    CallerGone,
    /// Anything else. The listener cannot be served.
    #[error("SECCOMP_IOCTL_NOTIF_RECV failed: {0}")]
    Failed(#[source] Errno),
}

impl Listener {
    /// Takes a descriptor that somebody handed us, if it is a listener, and gives it back if not: closing an
    /// arbitrary file can block. It becomes close-on-exec.
    pub fn new(fd: OwnedFd) -> Result<Self, (OwnedFd, NotAListener)> {
        match identify(fd.as_fd()) {
            Ok(()) => Ok(Self { fd }),
            Err(error) => Err((fd, error)),
        }
    }

    /// Lets the kernel run the woken side at once on the waker's CPU, since the waker is about to sleep
    /// (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`): about 3.5 times less latency on an idle machine.
    /// EINVAL before Linux 6.6; the listener works without it.
    pub fn set_sync_wake_up(&self) -> Result<(), Errno> {
        ioctl::set_sync_wake_up(self.fd.as_fd())
    }

    /// Receives the next notification into `slot`, **waiting** for one if none is pending. Callers that must
    /// not wait ask [`poll`](Self::poll) first, and are the only ones to receive until they have.
    ///
    /// Before Linux 6.11 the wait goes on when the filter's last task ends; a signal ends it.
    pub fn receive(&self, slot: &mut Slot) -> Result<Notification, ReceiveError> {
        let outcome = slot.receive_with(|notif| ioctl::receive(self.fd.as_fd(), notif));
        outcome.map_err(|errno| match errno {
            Errno::INTR => ReceiveError::Interrupted,
            Errno::NOENT => ReceiveError::CallerGone,
            other => ReceiveError::Failed(other),
        })
    }

    /// Whether a notification is pending ([`PollFlags::IN`]) or the filter has no task left
    /// ([`PollFlags::HUP`]), without waiting.
    pub fn poll(&self) -> Result<PollFlags, Errno> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents())
    }

    /// Answers a notification. ENOENT: the caller has left the call, by a signal or by dying, and nobody waits
    /// for the answer. EINPROGRESS: it was answered before.
    pub fn respond(&self, id: Id, response: Response) -> Result<(), Errno> {
        let (val, error, flags) = match response {
            Response::Continue => (0, 0, FLAG_CONTINUE),
            Response::Return(value) => (value, 0, 0),
            Response::Errno(errno) => (0, -errno.raw_os_error(), 0),
        };
        ioctl::send(self.fd.as_fd(), &mut libc::seccomp_notif_resp { id: id.as_raw(), val, error, flags })
    }

    /// Whether the caller is still blocked in this call. Whatever was read *before* this said yes came from
    /// the caller and from nobody who inherited its pid.
    pub fn is_valid(&self, id: Id) -> bool {
        ioctl::id_valid(self.fd.as_fd(), id.as_raw()).is_ok()
    }

    /// Duplicates `fd` into the caller and returns its number there; close-on-exec if `cloexec`.
    ///
    /// The answer is sent separately: the variant that does both at once (`SECCOMP_ADDFD_FLAG_SEND`), when
    /// interrupted before the caller runs, installs nothing and still makes the call return 0.
    pub fn add_fd(&self, id: Id, fd: BorrowedFd<'_>, cloexec: bool) -> Result<u32, Errno> {
        ioctl::add_fd(
            self.fd.as_fd(),
            libc::seccomp_notif_addfd {
                id: id.as_raw(),
                flags: 0,
                srcfd: fd.as_raw_fd().cast_unsigned(),
                newfd: 0,
                newfd_flags: if cloexec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
            },
        )
    }

    /// Marks the open file behind the descriptor as this process's: whether it was so already, by this descriptor
    /// or by a duplicate. A quick question before the slow one, [`is_same`](Self::is_same).
    ///
    /// The mark is the file's owner for signals (`F_SETOWN`, fcntl(2)), which has no other use here: listeners send
    /// none. Whoever has a duplicate can change it.
    pub fn claim(&self) -> Result<bool, Errno> {
        let process = std::process::id().cast_signed();
        let claimed = ioctl::owner(self.fd.as_fd())? == process;
        if !claimed {
            ioctl::set_owner(self.fd.as_fd(), process)?;
        }
        Ok(claimed)
    }

    /// Whether one is a duplicate of the other (`kcmp(2)`, `KCMP_FILE`).
    pub fn is_same(&self, other: &Listener) -> Result<bool, Errno> {
        ioctl::same_file(self.fd.as_fd(), other.fd.as_fd())
    }
}

/// Looks at the descriptor's name only: another operation on an arbitrary file could block, or do harm.
fn identify(fd: BorrowedFd<'_>) -> Result<(), NotAListener> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        .map_err(NotAListener::Unreadable)?;
    if link.as_bytes() != LISTENER_LINK {
        return Err(NotAListener::OtherFile(link));
    }
    fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(NotAListener::Unreadable)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.fd
    }
}
