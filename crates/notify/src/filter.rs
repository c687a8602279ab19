//! Creating a listener: a filter program is installed on the calling **thread** (`seccomp(2)`).
//!
//! A container runtime does this inside the container; the launcher, tests and the kernel probe do it here.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use seccomp_agent_syscall::{Arch, Syscall};

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation code (`include/uapi/linux/bpf_common.h`).
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// How a filter is installed (`SECCOMP_FILTER_FLAG_*`), as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(libc::c_ulong);

impl Flags {
    /// Every action but ALLOW is logged.
    pub const LOG: Flags = Flags(1 << 1);
    /// Speculative store bypass mitigation stays off.
    pub const SPEC_ALLOW: Flags = Flags(1 << 2);
    /// A received call is interrupted by fatal signals only. Linux 5.19.
    pub const WAIT_KILLABLE_RECV: Flags = Flags(1 << 5);

    /// No flag.
    pub const fn empty() -> Flags {
        Flags(0)
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: libc::c_ulong = 1 << 3;

/// Sets `no_new_privs` on the calling thread (`prctl(2)`): without it only a thread with `CAP_SYS_ADMIN` may
/// install a filter.
pub fn set_no_new_privs() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Installs `program` on the calling thread and returns its listener, close-on-exec. The thread keeps the
/// filter for the rest of its life, and so do its children. Sets `no_new_privs`.
///
/// EBUSY: a filter that the thread has already has a listener. EINVAL: the kernel refuses the program, or does
/// not know one of the flags.
pub fn install(program: &[Instruction], flags: Flags) -> Result<OwnedFd, Errno> {
    set_no_new_privs()?;
    install_with_privileges(program, flags)
}

/// [`install`] without `no_new_privs`: EACCES without `CAP_SYS_ADMIN`.
///
/// Makes one system call and returns: a caller whose program notifies everything makes no other unnoticed.
pub fn install_with_privileges(program: &[Instruction], flags: Flags) -> Result<OwnedFd, Errno> {
    let fd = set_filter(program, flags.0 | NEW_LISTENER)?;
    // SAFETY: the result is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// [`install_with_privileges`] for a program that notifies nothing: there is no listener, so the thread's
/// children may have one.
pub fn load_with_privileges(program: &[Instruction], flags: Flags) -> Result<(), Errno> {
    set_filter(program, flags.0).map(|_| ())
}

/// `seccomp(2)` with `SECCOMP_SET_MODE_FILTER`.
fn set_filter(program: &[Instruction], flags: libc::c_ulong) -> Result<i32, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions laid out as `struct sock_filter`, alive for the call; the
    // kernel reads them only.
    let outcome =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match i32::try_from(outcome) {
        Ok(outcome) if outcome >= 0 => Ok(outcome),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// Whether the kernel knows `flags`: it looks at them before it looks for the program.
pub fn knows(flags: Flags) -> bool {
    let nothing = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: with a null program the kernel installs nothing: EFAULT if it knows the flags, EINVAL if not.
    let outcome = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags.0 | NEW_LISTENER, nothing)
    };
    outcome == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// A program that notifies `calls` and allows every other: for tests, examples and probes. Real profiles are
/// compiled elsewhere.
///
/// # Panics
/// With more than 250 calls: a jump reaches no further.
pub fn notifying(calls: &[Syscall]) -> Vec<Instruction> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NR: u32 = 0; // offsetof(struct seccomp_data, nr)
    const ARCH: u32 = 4; // offsetof(struct seccomp_data, arch)

    assert!(calls.len() <= 250, "too many calls for one jump");
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };

    let mut program = Vec::new();
    for arch in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64, Arch::S390x] {
        // x32 calls carry the token of x86_64.
        let mine: Vec<_> =
            calls.iter().filter(|call| call.arch.audit_token() == arch.audit_token()).collect();
        let Ok(count) = u8::try_from(mine.len()) else { continue };
        if count == 0 {
            continue;
        }
        program.push(instruction(LOAD, 0, 0, ARCH));
        program.push(instruction(JUMP_IF_EQUAL, 0, count + 3, arch.audit_token()));
        program.push(instruction(LOAD, 0, 0, NR));
        for (after, call) in (0..count).rev().zip(&mine) {
            program.push(instruction(JUMP_IF_EQUAL, after + 1, 0, call.number));
        }
        program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
        program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}
