use seccomp_agent_profile::{Action, Profile};

/// A base for programs that are to be allowed little more than was recorded: what dynamically linked programs, glibc's and
/// musl's, need to be loaded, to manage their memory, to read and write what is open, and to end. No new process or
/// thread, no socket, no file that is made, changed or removed.
///
/// Which of these calls a C library makes changes with its version and with the kernel's, so that a recording of one
/// machine alone is not enough for another.
pub fn minimal() -> Profile {
    Profile::new(Action::Errno(1)).rule(Action::Allow, NAMES.iter().copied())
}

const NAMES: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "close",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fstat",
    "fstat64",
    "fstatat64",
    "futex",
    "futex_time64",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "mmap2",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "openat",
    "pread64",
    "prlimit64",
    "read",
    "readv",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "sigreturn",
    "statx",
    "tgkill",
    "ugetrlimit",
    "write",
    "writev",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_call_and_there_once() {
        for name in NAMES {
            assert!(seccomp_agent_syscall::is_known_name(name), "{name}");
        }
        assert!(NAMES.is_sorted_by(|one, next| one < next));
    }
}
