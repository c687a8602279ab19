//! The system calls that are looked at by their arguments. None of them is made for each notification.

use rustix::net::AddressFamily;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

type Rules = Result<Vec<SeccompRule>, seccompiler::BackendError>;

/// The ways in which a call may be made; none where its arguments do not matter.
pub(crate) fn rules(call: &str) -> Rules {
    match call {
        // New namespaces are nobody's business: containers have theirs.
        "clone" => one(vec![masked(0, NEW_NAMESPACES, 0)?]),
        // Limits are looked at: those of the agent itself.
        "prlimit64" => one(vec![is(0, 0)?, pointer_is_null(2)?]),
        "prctl" => each(PRCTL, |option| Ok(vec![is(0, *option)?])),
        // Nobody else's threads.
        "tgkill" => one(vec![is(0, own_pid())?]),
        "socket" => {
            let mut rules =
                each(&[AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6], |family| {
                    Ok(vec![is(0, family.as_raw().into())?])
                })?;
            // The C library asks which addresses the machine has before it looks names up.
            rules.extend(one(vec![is(0, AddressFamily::NETLINK.as_raw().into())?, is(2, NETLINK_ROUTE)?])?);
            Ok(rules)
        }
        "socketpair" => one(vec![is(0, AddressFamily::UNIX.as_raw().into())?]),
        // No memory that is written becomes code.
        "mprotect" => one(vec![masked(2, EXEC, 0)?]),
        "mmap" => each(&[0, WRITE, EXEC], |protection| Ok(vec![masked(2, WRITE | EXEC, *protection)?])),
        _ => Ok(Vec::new()),
    }
}

/// `CLONE_NEW*` of `clone(2)`.
const NEW_NAMESPACES: u64 = 0x7e02_0080;
/// `PROT_WRITE` and `PROT_EXEC` of `mmap(2)`.
const WRITE: u64 = 2;
const EXEC: u64 = 4;
/// Of `netlink(7)`.
const NETLINK_ROUTE: u64 = 0;
/// What may be said of a thread (`prctl(2)`): whom it ends with, whether it can be traced, its name, that it gains no
/// privileges, what a piece of memory is called; and what the kernel has told the process at its start may be asked,
/// which rustix would otherwise read in `/proc/self`, perhaps that of a container.
const PRCTL: &[u64] = &[1, 3, 4, 15, 16, 38, 39, 0x5356_4d41, 0x4155_5856];

fn own_pid() -> u64 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs().into()
}

fn one(conditions: Vec<SeccompCondition>) -> Rules {
    Ok(vec![SeccompRule::new(conditions)?])
}

fn each<T>(
    values: &[T],
    conditions: impl Fn(&T) -> Result<Vec<SeccompCondition>, seccompiler::BackendError>,
) -> Rules {
    values.iter().map(|value| SeccompRule::new(conditions(value)?)).collect()
}

/// The lower half of an argument, all that the kernel looks at of an `int`.
fn is(index: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn pointer_is_null(index: u8) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

fn masked(index: u8, mask: u64, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}
