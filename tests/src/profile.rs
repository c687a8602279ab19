//! Seccomp profiles, as the OCI runtime specification writes them.

use std::path::Path;

use seccomp_agent_syscall::{Arch, Syscall};
use serde_json::{Value, json};

/// A profile that notifies `names` to the agent at `socket`, and allows the rest.
pub fn notifying(names: &[&str], socket: &Path) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures(),
        "listenerPath": socket,
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

/// A profile that notifies every call but those that runc may make before it has told the agent: it refuses to notify
/// `write`, and may hang in the others.
pub fn notifying_everything(socket: &Path) -> Value {
    let names = Syscall::all(Arch::native()).filter_map(Syscall::name);
    let names: Vec<_> = names.filter(|name| !["write", "rt_sigreturn", "futex"].contains(name)).collect();
    notifying(&names, socket)
}

/// The same profile with `listenerMetadata`.
#[must_use]
pub fn with_metadata(mut profile: Value, metadata: &str) -> Value {
    profile["listenerMetadata"] = metadata.into();
    profile
}

/// A filter kills the callers of an architecture that it does not list, so all of the machine's are.
fn architectures() -> &'static [&'static str] {
    match Arch::native() {
        Arch::X86_64 => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        Arch::Aarch64 => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}
