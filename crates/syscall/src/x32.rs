//! The x32 table: that of `x86_64`, but for the calls whose structures differ, which have numbers from 512 on
//! (`arch/x86/entry/syscalls/syscall_64.tbl`, the `x32` and `64` rows).

use syscalls::x86_64::Sysno;

const FIRST: u32 = 512;
const OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// Rows marked `64`: not there for x32 at all.
const ONLY_64: [&str; 12] = [
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "uretprobe",
];

/// The name of the x32 call with this number, bit 30 taken off.
pub(crate) fn name(number: u32) -> Option<&'static str> {
    if let Some(own) = number.checked_sub(FIRST).and_then(|i| OWN.get(usize::try_from(i).ok()?)) {
        return Some(own);
    }
    let name = Sysno::new(usize::try_from(number).ok()?)?.name();
    (!OWN.contains(&name) && !ONLY_64.contains(&name)).then_some(name)
}

/// The number, without bit 30, of the x32 call with this name.
pub(crate) fn number(name: &str) -> Option<u32> {
    if let Some(i) = OWN.iter().position(|own| *own == name) {
        return u32::try_from(i).ok().map(|i| FIRST + i);
    }
    let call: Sysno = name.parse().ok()?;
    (!ONLY_64.contains(&name)).then(|| call.id().cast_unsigned())
}

/// All numbers that have a name, without bit 30.
pub(crate) fn numbers() -> impl Iterator<Item = u32> {
    Sysno::iter()
        .map(|call| call.id().cast_unsigned())
        .chain(FIRST..)
        .take_while(|n| *n < FIRST + 36)
        .filter(|n| name(*n).is_some())
}
