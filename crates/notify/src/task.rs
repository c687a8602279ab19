use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// `PIDFD_THREAD`, Linux 6.9: the flag has the value of `O_EXCL` (`include/uapi/linux/pidfd.h`).
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// The task that made a call: its thread id, and a pidfd of it that no other task can inherit.
///
/// A pidfd is no proof of identity by itself: when another thread of the caller runs `execve`, it takes over
/// the leader's id and the pidfd goes on living. Open the task, read what is needed, and only then ask
/// [`Listener::is_valid`](crate::Listener::is_valid).
#[derive(Debug)]
pub struct Task {
    tid: Pid,
    pidfd: OwnedFd,
}

/// Why a caller could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The notification carries no pid: the caller is outside this pid namespace.
    #[error("the caller is not visible in this pid namespace")]
    Invisible,
    /// Finding the process of the thread failed.
    #[error("reading the process id of thread {tid} from /proc failed: {source}")]
    Status {
        /// The thread.
        tid: u32,
        /// What went wrong.
        source: std::io::Error,
    },
    /// `pidfd_open(2)` failed: usually ESRCH, the caller has died.
    #[error("pidfd_open of task {tid} failed: {source}")]
    Open {
        /// The thread or its process.
        tid: u32,
        /// What went wrong.
        source: Errno,
    },
}

impl Task {
    /// Opens the task with this thread id. Before Linux 6.9 (`thread_pidfd` false) the pidfd is of its process.
    pub fn open(tid: u32, thread_pidfd: bool) -> Result<Self, TaskError> {
        let number = i32::try_from(tid).map_err(|_| TaskError::Invisible)?;
        let id = Pid::from_raw(number).ok_or(TaskError::Invisible)?;
        let (target, flags) =
            if thread_pidfd { (id, PIDFD_THREAD) } else { (process_of(id)?, PidfdFlags::empty()) };
        let pidfd = pidfd_open(target, flags).map_err(|source| TaskError::Open { tid, source })?;
        Ok(Self { tid: id, pidfd })
    }

    /// The thread id, in this process's pid namespace.
    pub fn tid(&self) -> u32 {
        self.tid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Ends the caller's whole process with SIGKILL.
    pub fn kill(&self) -> Result<(), Errno> {
        pidfd_send_signal(&self.pidfd, Signal::KILL)
    }
}

impl AsFd for Task {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The thread group that `tid` belongs to, from the `Tgid:` line of its status.
fn process_of(tid: Pid) -> Result<Pid, TaskError> {
    let number = tid.as_raw_nonzero().get().cast_unsigned();
    let failed = |source| TaskError::Status { tid: number, source };
    let status = std::fs::read_to_string(format!("/proc/{number}/status")).map_err(failed)?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|tgid| Pid::from_raw(tgid.trim().parse().ok()?))
        .ok_or_else(|| failed(std::io::Error::other("no Tgid line")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_of_a_thread_is_found_without_thread_pidfds() {
        let tid = std::thread::spawn(rustix::thread::gettid).join().unwrap();
        let main = std::thread::spawn(|| process_of(rustix::thread::gettid()).unwrap()).join().unwrap();
        assert_eq!(main, rustix::process::getpid());
        assert!(matches!(
            Task::open(tid.as_raw_nonzero().get().cast_unsigned(), false),
            Err(TaskError::Status { .. })
        ));
    }

    #[test]
    fn a_caller_outside_our_pid_namespace_is_refused() {
        assert!(matches!(Task::open(0, true), Err(TaskError::Invisible)));
        assert!(matches!(Task::open(u32::MAX, true), Err(TaskError::Invisible)));
    }
}
