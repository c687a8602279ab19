use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What will start a container under a profile. It loads the filter, and then needs calls of its own before it
/// executes the program, which the profile therefore has to allow.
///
/// That holds for starting it and for executing another program in it. The lists were measured with runc 1.1.5 and crun 1.8.1 over libseccomp 2.5.4, on Linux 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Target {
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// Either of them, and what other runtimes were seen to need.
    Any,
}

/// A name that is no [`Target`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no runtime that is known here; runc, crun and any are")]
pub struct UnknownTarget {
    /// The name.
    pub name: String,
}

/// With `no_new_privs`, runtimes load the filter last.
const RUNC: &[&str] = &["close", "execve", "fstatfs", "getdents64", "openat", "write"];

/// Without it, they load it before they give up the capabilities that loading takes.
const RUNC_PRIVILEGED: &[&str] = &[
    "capget",
    "capset",
    "chdir",
    "faccessat2",
    "fstat",
    "getcwd",
    "getpid",
    "getppid",
    "newfstatat",
    "prctl",
    "read",
    "setgid",
    "setgroups",
    "setuid",
];

const CRUN: &[&str] = &["execve"];

const CRUN_PRIVILEGED: &[&str] =
    &["capset", "prctl", "rt_sigaction", "rt_sigprocmask", "setresgid", "setresuid", "write"];

/// crun's exec loads the filter early, whatever `no_new_privs` is.
const CRUN_EXEC: &[&str] = &[
    "capset",
    "close",
    "execve",
    "fchown",
    "ioctl",
    "openat",
    "prctl",
    "read",
    "setgroups",
    "setresgid",
    "setresuid",
    "statx",
    "umask",
    "write",
];

/// What the scheduler, the memory and the signals of runc's Go runtime may need at any moment, and need in some starts
/// only (`runtime/sys_linux_amd64.s`, `runtime/netpoll_epoll.go`).
pub(crate) const GO: &[&str] = &[
    "clone",
    "epoll_ctl",
    "epoll_pwait",
    "exit_group",
    "fcntl",
    "futex",
    "getpid",
    "gettid",
    "madvise",
    "mmap",
    "munmap",
    "nanosleep",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "sigaltstack",
    "tgkill",
];

impl Target {
    /// The calls it needs under the filter before it has started the program, `execve` included.
    pub fn needs(self, no_new_privs: bool) -> BTreeSet<&'static str> {
        let lists: &[&[&str]] = match (self, no_new_privs) {
            (Self::Runc, true) => &[RUNC, GO],
            (Self::Runc, false) => &[RUNC, GO, RUNC_PRIVILEGED],
            (Self::Crun, true) => &[CRUN, CRUN_EXEC],
            (Self::Crun, false) => &[CRUN, CRUN_EXEC, CRUN_PRIVILEGED],
            (Self::Any, true) => &[RUNC, GO, CRUN, CRUN_EXEC],
            (Self::Any, false) => &[RUNC, GO, RUNC_PRIVILEGED, CRUN, CRUN_EXEC, CRUN_PRIVILEGED],
        };
        lists.concat().into_iter().collect()
    }

    /// Whether what the runtime `name` was seen to do before a program says something of this one.
    pub(crate) fn includes(self, name: &str) -> bool {
        self == Self::Any || self.name() == name
    }

    /// `runc`, `crun` or `any`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Any => "any",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, UnknownTarget> {
        let all = [Self::Runc, Self::Crun, Self::Any];
        let found = all.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| UnknownTarget { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_syscall::{Arch, Syscall};

    const ALL: [Target; 3] = [Target::Runc, Target::Crun, Target::Any];

    #[test]
    fn every_name_is_a_call() {
        for name in Target::Any.needs(false) {
            assert!(Syscall::named(Arch::X86_64, name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_runtime_executes_and_needs_more_to_give_up_privileges() {
        for target in ALL {
            assert!(target.needs(true).contains("execve"), "{target}");
            assert!(target.needs(false).is_superset(&target.needs(true)), "{target}");
            assert!(Target::Any.needs(false).is_superset(&target.needs(false)), "{target}");
            assert_eq!(target.name().parse(), Ok(target));
        }
        assert!("youki".parse::<Target>().is_err());
    }
}
