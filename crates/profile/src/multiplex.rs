use seccomp_agent_syscall::Arch;

/// The other way to make a call: on some architectures `socketcall` and `ipc` do what their first argument says.
/// A rule for `connect` is there a rule for `socketcall` with 3 as well, or a program could go around it
/// (libseccomp, `abi_rule_add` in `src/syscalls.c`).
///
/// Gives the name of the multiplexer and the value of its first argument.
pub(crate) fn multiplexer(arch: Arch, name: &str) -> Option<(&'static str, u64)> {
    let multiplexes = matches!(
        arch,
        Arch::X86
            | Arch::S390
            | Arch::S390x
            | Arch::Ppc
            | Arch::Ppc64
            | Arch::Ppc64le
            | Arch::Mips
            | Arch::Mipsel
    );
    if !multiplexes {
        return None;
    }
    let of = |multiplexer, table: &[(&str, u64)]| {
        table.iter().find(|(call, _)| *call == name).map(|(_, number)| (multiplexer, *number))
    };
    of("socketcall", SOCKETCALL).or_else(|| of("ipc", IPC))
}

/// `SYS_*` of `linux/net.h`.
const SOCKETCALL: &[(&str, u64)] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// `SEMOP` and kin of `linux/ipc.h`.
const IPC: &[(&str, u64)] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
