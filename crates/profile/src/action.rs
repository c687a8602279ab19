use std::fmt;

/// What the kernel does with a system call, the last value of a filter ([seccomp(2)], "Filter return values").
///
/// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// End the whole process, as if by `SIGSYS`.
    KillProcess,
    /// End the calling thread; what OCI calls `SCMP_ACT_KILL`.
    KillThread,
    /// Send `SIGSYS` to the thread.
    Trap,
    /// Fail the call with this errno. 0 makes it return 0 without doing anything.
    Errno(u16),
    /// Ask the supervisor that holds the filter's listener ([seccomp_unotify(2)]).
    ///
    /// [seccomp_unotify(2)]: https://man7.org/linux/man-pages/man2/seccomp_unotify.2.html
    Notify,
    /// Stop the thread for its tracer, which gets this message.
    Trace(u16),
    /// Do the call and write it to the audit log.
    Log,
    /// Do the call.
    Allow,
}

/// `MAX_ERRNO` of the kernel: what is above it, the kernel lowers to it.
const MAX_ERRNO: u16 = 4095;

/// The errno of an `SCMP_ACT_ERRNO` that names none: `EPERM`, by the runtime specification.
pub(crate) const DEFAULT_ERRNO: u16 = 1;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7FC0_0000;
const RET_TRACE: u32 = 0x7FF0_0000;
const RET_LOG: u32 = 0x7FFC_0000;
const RET_ALLOW: u32 = 0x7FFF_0000;

const RET_ACTION_FULL: u32 = 0xFFFF_0000;
const RET_DATA: u32 = 0x0000_FFFF;

impl Action {
    /// The value that a filter returns for this action, a `SECCOMP_RET_*` with its data.
    pub fn to_return_value(self) -> u32 {
        match self {
            Action::KillProcess => RET_KILL_PROCESS,
            Action::KillThread => RET_KILL_THREAD,
            Action::Trap => RET_TRAP,
            Action::Errno(errno) => RET_ERRNO | u32::from(errno),
            Action::Notify => RET_USER_NOTIF,
            Action::Trace(message) => RET_TRACE | u32::from(message),
            Action::Log => RET_LOG,
            Action::Allow => RET_ALLOW,
        }
    }

    /// What the kernel does when a filter returns `value`: an action that it does not know kills the process, and
    /// no errno is above 4095 (`__seccomp_filter` in `kernel/seccomp.c`).
    pub fn from_return_value(value: u32) -> Self {
        let data = (value & RET_DATA) as u16;
        match value & RET_ACTION_FULL {
            RET_KILL_THREAD => Action::KillThread,
            RET_TRAP => Action::Trap,
            RET_ERRNO => Action::Errno(data.min(MAX_ERRNO)),
            RET_USER_NOTIF => Action::Notify,
            RET_TRACE => Action::Trace(data),
            RET_LOG => Action::Log,
            RET_ALLOW => Action::Allow,
            _ => Action::KillProcess,
        }
    }

    /// Whether the call is done without anybody being asked.
    pub fn is_permissive(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::KillProcess => f.write_str("KILL_PROCESS"),
            Action::KillThread => f.write_str("KILL_THREAD"),
            Action::Trap => f.write_str("TRAP"),
            Action::Errno(errno) => write!(f, "ERRNO({errno})"),
            Action::Notify => f.write_str("NOTIFY"),
            Action::Trace(message) => write!(f, "TRACE({message})"),
            Action::Log => f.write_str("LOG"),
            Action::Allow => f.write_str("ALLOW"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_values_are_those_of_seccomp_h() {
        for (action, value) in [
            (Action::KillProcess, 0x8000_0000),
            (Action::KillThread, 0),
            (Action::Trap, 0x0003_0000),
            (Action::Errno(38), 0x0005_0026),
            (Action::Notify, 0x7FC0_0000),
            (Action::Trace(7), 0x7FF0_0007),
            (Action::Log, 0x7FFC_0000),
            (Action::Allow, 0x7FFF_0000),
        ] {
            assert_eq!(action.to_return_value(), value, "{action}");
            assert_eq!(Action::from_return_value(value), action);
        }
    }

    #[test]
    fn a_return_value_is_read_as_the_kernel_reads_it() {
        assert_eq!(Action::from_return_value(0x7FFF_1234), Action::Allow);
        assert_eq!(Action::from_return_value(0x0005_FFFF), Action::Errno(4095));
        assert_eq!(Action::from_return_value(0x0001_0000), Action::KillProcess);
    }
}
