//! Getting a thread out of a blocking receive.
//!
//! A thread in [`Listener::receive`](crate::Listener::receive) returns with
//! [`Interrupted`](crate::ReceiveError::Interrupted) when a signal arrives whose handler was installed without
//! `SA_RESTART`. The signal is SIGURG: nobody else uses it, and by default it does nothing.

use rustix::io::Errno;
use rustix::thread::gettid;

/// A thread of this process that can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread(i32);

/// Makes SIGURG interrupt system calls of this process. Once, before the first receive.
pub fn install_handler() -> Result<(), Errno> {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: `sigaction` is a struct of integers, a set and a nullable pointer, for which zero is valid: no
    // flags (in particular no SA_RESTART), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is initialised and its handler does nothing, so it is async-signal-safe; the old action
    // is not asked for.
    let outcome = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
    if outcome == 0 { Ok(()) } else { Err(last_error()) }
}

impl Thread {
    /// The calling thread.
    pub fn current() -> Self {
        Self(gettid().as_raw_nonzero().get())
    }

    /// Its thread id.
    pub fn tid(self) -> u32 {
        self.0.cast_unsigned()
    }

    /// Interrupts the system call that the thread is blocked in. One that is about to block is missed: ask
    /// again later. A thread that has ended is no error.
    pub fn interrupt(self) {
        let pid = std::process::id();
        // SAFETY: a plain system call on integers; the thread is looked up within this process only.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, self.0, libc::SIGURG) };
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
