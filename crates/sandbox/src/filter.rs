use std::collections::BTreeMap;

use rustix::io::Errno;
use seccomp_agent_notify::filter::{Flags, Instruction, load_with_privileges};
use seccomp_agent_syscall::{Arch, Syscall};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

use crate::SandboxError;
use crate::calls::{ACTING, CONTROL, EVERY_THREAD, STARTING};
use crate::rules::rules;

/// A seccomp filter.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    /// Whether the kernel logs what it refuses.
    is_logged: bool,
}

impl Filter {
    /// What some thread of the agent needs; all else fails with EPERM.
    pub(crate) fn of_every_thread() -> Result<Self, SandboxError> {
        Self::allowing(&[EVERY_THREAD, ACTING, CONTROL, STARTING])
    }

    /// What a thread of the control plane needs.
    pub(crate) fn of_the_control_plane() -> Result<Self, SandboxError> {
        Self::allowing(&[EVERY_THREAD, CONTROL])
    }

    /// `clone3(2)` keeps its flags in memory, where no filter sees them. To the C library, a kernel without it is an old
    /// one: it asks with every thread, and that is not worth a line of the kernel's log.
    pub(crate) fn without_clone3() -> Result<Self, SandboxError> {
        let errno = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
        let clone3 = number("clone3").map(|number| (number, Vec::new()));
        let filter = Self::compile(clone3.into_iter().collect(), errno, SeccompAction::Allow)?;
        Ok(Self { is_logged: false, ..filter })
    }

    fn allowing(tables: &[&[&str]]) -> Result<Self, SandboxError> {
        let mut allowed = BTreeMap::new();
        for name in tables.iter().copied().flatten() {
            if let Some(number) = number(name) {
                allowed.insert(number, rules(name).map_err(cannot_be_made)?);
            }
        }
        let errno = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
        Self::compile(allowed, SeccompAction::Allow, errno)
    }

    fn compile(
        calls: BTreeMap<i64, Vec<SeccompRule>>,
        action: SeccompAction,
        otherwise: SeccompAction,
    ) -> Result<Self, SandboxError> {
        let compile = || {
            let arch = std::env::consts::ARCH.try_into()?;
            BpfProgram::try_from(SeccompFilter::new(calls, otherwise, action, arch)?)
        };
        let program = compile().map_err(cannot_be_made)?;
        let instruction =
            |of: &seccompiler::sock_filter| Instruction { code: of.code, jt: of.jt, jf: of.jf, k: of.k };
        Ok(Self { program: program.iter().map(instruction).collect(), is_logged: true })
    }

    /// Loads it for the calling thread and what that starts; takes `no_new_privs`. It does not slow the thread down by what kernels before 5.16 do against speculation in filtered programs, which
    /// are taken for strangers there.
    pub(crate) fn load(&self) -> Result<(), SandboxError> {
        let logged = if self.is_logged { Flags::LOG } else { Flags::empty() };
        load_with_privileges(&self.program, logged.union(Flags::SPEC_ALLOW)).map_err(SandboxError::Load)
    }
}

fn number(name: &str) -> Option<i64> {
    Syscall::named(Arch::native(), name).map(|call| call.number.into())
}

fn cannot_be_made(error: BackendError) -> SandboxError {
    SandboxError::Filter(error.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use seccomp_agent_profile::{Action, ByteOrder, Program, SeccompData};

    use super::*;

    const REFUSED: Action = Action::Errno(1);

    fn action(filter: &Filter, name: &str, arguments: [u64; 6]) -> Action {
        let instructions = filter.program.iter().map(|of| seccomp_agent_profile::Instruction {
            code: of.code,
            jt: of.jt,
            jf: of.jf,
            k: of.k,
        });
        let program = Program::new(instructions.collect(), ByteOrder::Little).unwrap();
        let call = Syscall::named(Arch::native(), name).unwrap_or_else(|| panic!("{name}"));
        program.run(&SeccompData::new(call, arguments))
    }

    #[test]
    fn no_call_is_allowed_but_those_of_the_tables() {
        let tables: BTreeSet<_> = [EVERY_THREAD, ACTING, CONTROL, STARTING].concat().into_iter().collect();
        let (every, control) = (Filter::of_every_thread().unwrap(), Filter::of_the_control_plane().unwrap());
        let own = [u64::from(std::process::id()); 6];
        let mut refused = 0;
        for name in Syscall::all(Arch::native()).filter_map(Syscall::name) {
            // Of what is looked at by its arguments, these are refused but `tgkill`.
            let in_control = EVERY_THREAD.contains(&name) || CONTROL.contains(&name);
            let by_arguments = !rules(name).unwrap().is_empty();
            for (filter, listed) in [(&every, tables.contains(name)), (&control, in_control)] {
                let expected = if listed { Action::Allow } else { REFUSED };
                if !(by_arguments && listed) {
                    assert_eq!(action(filter, name, own), expected, "{name}");
                }
                refused += usize::from(!listed);
            }
        }
        assert!(refused > 300, "{refused}");
    }

    #[test]
    fn what_nobody_needs_and_intruders_want_is_refused_to_all() {
        let every = Filter::of_every_thread().unwrap();
        for name in [
            "acct",
            "add_key",
            "bpf",
            "delete_module",
            "execve",
            "execveat",
            "finit_module",
            "fork",
            "init_module",
            "io_uring_setup",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "memfd_create",
            "open_by_handle_at",
            "perf_event_open",
            "process_vm_writev",
            "ptrace",
            "reboot",
            "request_key",
            "setresuid",
            "setuid",
            "settimeofday",
            "swapon",
            "syslog",
            "userfaultfd",
            "vfork",
        ] {
            if Syscall::named(Arch::native(), name).is_some() {
                assert_eq!(action(&every, name, [0; 6]), REFUSED, "{name}");
            }
        }
    }

    #[test]
    fn the_control_plane_enters_no_container() {
        let control = Filter::of_the_control_plane().unwrap();
        for name in [
            "bind",
            "capset",
            "chroot",
            "fchdir",
            "fsopen",
            "kill",
            "listen",
            "mknodat",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pidfd_getfd",
            "pidfd_send_signal",
            "pivot_root",
            "process_vm_readv",
            "setfsuid",
            "setgroups",
            "setns",
            "umount2",
            "unshare",
        ] {
            assert_eq!(action(&control, name, [0; 6]), REFUSED, "{name}");
        }
    }

    #[test]
    fn arguments_decide_where_a_call_has_another_side() {
        let every = Filter::of_every_thread().unwrap();
        let pid = u64::from(std::process::id());
        for (name, arguments, is_allowed) in [
            // CLONE_VM and what else makes a thread, or a helper.
            ("clone", [0x003d_0f00, 1, 0, 0, 0, 0], true),
            ("clone", [0x1500, 1, 0, 0, 0, 0], true),
            ("clone", [0x1000_0011, 0, 0, 0, 0, 0], false),
            ("clone", [0x0002_0000, 0, 0, 0, 0, 0], false),
            ("clone", [0x80, 0, 0, 0, 0, 0], false),
            ("prlimit64", [0, 7, 0, 1, 0, 0], true),
            ("prlimit64", [0, 7, 0x7f00_0000_0000, 0, 0, 0], false),
            ("prlimit64", [1, 7, 0, 1, 0, 0], false),
            ("tgkill", [pid, 5, 23, 0, 0, 0], true),
            ("tgkill", [pid + 1, 5, 23, 0, 0, 0], false),
            // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK with two protocols, AF_PACKET, AF_VSOCK.
            ("socket", [1, 1, 0, 0, 0, 0], true),
            ("socket", [2, 1, 6, 0, 0, 0], true),
            ("socket", [10, 2, 0, 0, 0, 0], true),
            ("socket", [16, 3, 0, 0, 0, 0], true),
            ("socket", [16, 3, 9, 0, 0, 0], false),
            ("socket", [17, 3, 0, 0, 0, 0], false),
            ("socket", [40, 1, 0, 0, 0, 0], false),
            // Readable, writable, code, and both at once.
            ("mmap", [0, 4096, 1, 0x22, 0, 0], true),
            ("mmap", [0, 4096, 3, 0x22, 0, 0], true),
            ("mmap", [0, 4096, 5, 2, 3, 0], true),
            ("mmap", [0, 4096, 7, 0x22, 0, 0], false),
            ("mprotect", [4096, 4096, 3, 0, 0, 0], true),
            ("mprotect", [4096, 4096, 5, 0, 0, 0], false),
            // PR_SET_NAME, PR_SET_SECCOMP, PR_SET_MM, PR_SET_SECUREBITS.
            ("prctl", [15, 0, 0, 0, 0, 0], true),
            ("prctl", [22, 2, 0, 0, 0, 0], false),
            ("prctl", [35, 1, 0, 0, 0, 0], false),
            ("prctl", [28, 0, 0, 0, 0, 0], false),
        ] {
            let expected = if is_allowed { Action::Allow } else { REFUSED };
            assert_eq!(action(&every, name, arguments), expected, "{name} {arguments:?}");
        }
        // ENOSYS.
        assert_eq!(action(&Filter::without_clone3().unwrap(), "clone3", [0; 6]), Action::Errno(38));
        assert_eq!(action(&Filter::without_clone3().unwrap(), "read", [0; 6]), Action::Allow);
    }

    #[test]
    fn the_profile_of_the_agents_own_pod_refuses_nothing_that_it_does() {
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kustomize/base/profiles/agent.json");
        let profile = std::fs::read_to_string(profile).unwrap();
        for name in [EVERY_THREAD, ACTING, CONTROL, STARTING].concat() {
            assert!(!profile.contains(&format!("\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn each_name_is_one_of_linux_and_stands_in_a_table_once() {
        for table in [EVERY_THREAD, ACTING, CONTROL, STARTING] {
            let names: BTreeSet<_> = table.iter().collect();
            assert_eq!(names.len(), table.len());
            for name in table {
                assert!(seccomp_agent_syscall::is_known_name(name), "{name}");
            }
        }
    }
}
