use rustix::io::Errno;
use seccomp_agent_syscall::{Arch, Syscall};

/// A notification's identity: unique among those of its listener, and valid while the caller is still inside
/// the call. It, and not a pid, says who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    pub(crate) const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The kernel's number, for logs and for the slot table of another process.
    pub const fn as_raw(self) -> u64 {
        self.0
    }
}

/// One system call that a task is blocked in, waiting for an answer (`struct seccomp_notif`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What to answer to.
    pub id: Id,
    /// The calling *thread*, in the pid namespace of the process that received the notification; 0 where the
    /// caller is not visible there. Such a caller can be continued or refused, nothing else.
    pub tid: u32,
    /// What was called.
    pub syscall: Syscall,
    /// The arguments, cut to the width of the caller's registers: those of an i386 program have 32 bits, those of
    /// an x32 program 64.
    pub args: [u64; 6],
    /// Where in the caller's memory the call was made.
    pub instruction_pointer: u64,
}

impl Notification {
    pub(crate) fn from_kernel(raw: &libc::seccomp_notif) -> Self {
        let syscall = Syscall::decode(raw.data.arch, raw.data.nr.cast_unsigned());
        // The upper halves of a 32-bit program's registers are not its own to set; the kernel ignores them,
        // and so must everybody who reads them.
        let mask = if syscall.arch.has_32_bit_registers() { u64::from(u32::MAX) } else { u64::MAX };
        Self {
            id: Id::new(raw.id),
            tid: raw.pid,
            syscall,
            args: raw.data.args.map(|arg| arg & mask),
            instruction_pointer: raw.data.instruction_pointer,
        }
    }

    /// A call of `name` on the machine's own architecture, with no caller and arguments of zero: for tests and
    /// examples of what decides about calls.
    ///
    /// # Panics
    /// If there is no such call.
    pub fn sample(name: &str) -> Self {
        let syscall = Syscall::named(Arch::native(), name);
        let Some(syscall) = syscall else { panic!("no system call is named {name:?}") };
        Self { id: Id::new(0), tid: 0, syscall, args: [0; 6], instruction_pointer: 0 }
    }
}

/// How a notified call ends (`struct seccomp_notif_resp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The kernel runs the call as if it had not been notified. The caller's other threads may have changed
    /// what its arguments point to by then: never a way to enforce anything.
    Continue,
    /// The call returns this value.
    Return(i64),
    /// The call fails with this error.
    Errno(Errno),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(arch: Arch, nr: i32) -> libc::seccomp_notif {
        libc::seccomp_notif {
            id: 7,
            pid: 1,
            flags: 0,
            data: libc::seccomp_data {
                nr,
                arch: arch.audit_token(),
                instruction_pointer: 0,
                args: [0xdead_beef_0000_1000; 6],
            },
        }
    }

    #[test]
    fn pointers_of_a_32_bit_caller_lose_their_upper_half() {
        let notification = Notification::from_kernel(&raw(Arch::X86, 39));
        assert_eq!((notification.syscall.name(), notification.args[0]), (Some("mkdir"), 0x1000));
    }

    #[test]
    fn x32_numbers_are_named() {
        let notification = Notification::from_kernel(&raw(Arch::X86_64, 0x4000_0208));
        assert_eq!((notification.syscall.arch, notification.syscall.name()), (Arch::X32, Some("execve")));
    }

    #[test]
    fn an_x32_caller_keeps_its_arguments() {
        let notification = Notification::from_kernel(&raw(Arch::X86_64, 0x4000_0000 + 83));
        assert_eq!((notification.syscall.arch, notification.args[0]), (Arch::X32, 0xdead_beef_0000_1000));
    }

    #[test]
    fn a_64_bit_caller_keeps_its_arguments() {
        assert_eq!(Notification::from_kernel(&raw(Arch::X86_64, 83)).args[0], 0xdead_beef_0000_1000);
    }
}
