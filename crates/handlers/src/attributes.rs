use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, XattrFlags};
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, Scene, Target};
use seccomp_agent_registry::{Call, Errno, Handler, Memory, ReadError, Verdict};

use crate::arguments::listed;
use crate::emulate::{Failure, emulate_for};

/// `setxattr(2)` and `removexattr(2)`, in their path, link and descriptor forms, made as the caller.
///
/// **Grants**, for attributes whose name begins with a listed prefix, what the kernel asks for: `CAP_SETFCAP` for
/// `security.capability`, `CAP_SYS_ADMIN` for the rest of `security.` and for `trusted.`. Other attributes take
/// the rights to the file, and no grant gives those.
///
/// For a caller in a user namespace of its own, `security.capability` is what the kernel makes of it there: good for
/// that namespace only. The others are set by the grant alone, on files whose owners its namespace has.
///
/// **Cannot know** who reads the attributes: a program that is given capabilities has them for everybody who
/// runs it, on the host too if it lies on a volume.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    prefixes: Vec<String>,
}

/// How long a name and a value may be (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX` of `limits.h`).
const NAME_MAX: usize = 255;
const SIZE_MAX: u64 = 64 << 10;

impl Attributes {
    /// Grants attributes whose names begin with one of these, such as `trusted.overlay.`.
    pub fn granting<S: Into<String>>(prefixes: impl IntoIterator<Item = S>) -> Self {
        Self { prefixes: prefixes.into_iter().map(Into::into).collect() }
    }

    fn change(&self, call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
        let memory = call.memory();
        // Flags, name, value: in the kernel's order.
        let set = match call.syscall().name() {
            Some("setxattr" | "lsetxattr" | "fsetxattr") => Some(set_flags(call.int_arg(4))?),
            _ => None,
        };
        let name = name(memory, call.arg(1))?;
        let change = match set {
            Some(flags) => Change::Set(value(memory, call.arg(2), call.arg(3))?, flags),
            None => Change::Remove,
        };
        let grant = self.grant(name.as_bytes());
        call.note(|noted| {
            let name = name.to_string_lossy();
            noted.asks(format_args!("attribute={name:?}")).because(listed(!grant.is_empty()));
        });
        let target = named(call, caller)?;
        let find = |scene: &Scene<'_>| scene.open(&target);
        let apply = |scene: &Scene<'_>, file: OwnedFd| {
            if scene.is_foreign(&file)? {
                return Err(Errno::PERM);
            }
            match &change {
                Change::Set(value, flags) => scene.set_attribute(file, &name, value, *flags),
                Change::Remove => scene.remove_attribute(file, &name),
            }
        };
        // What CAP_SYS_ADMIN is asked for, it is asked for outside all containers.
        if grant.contains(Capabilities::SYS_ADMIN) {
            caller.act_outside(|| call.is_valid(), grant, find, apply)?;
        } else {
            caller.act(|| call.is_valid(), grant, |scene| apply(scene, find(scene)?))?;
        }
        Ok(Verdict::Return(0))
    }

    fn grant(&self, name: &[u8]) -> Capabilities {
        if !self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes())) {
            Capabilities::empty()
        } else if name == b"security.capability" {
            Capabilities::SETFCAP
        } else if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
            Capabilities::SYS_ADMIN
        } else {
            Capabilities::empty()
        }
    }
}

impl Handler for Attributes {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        emulate_for(call, |call, caller| self.change(call, caller))
    }

    fn name(&self) -> &'static str {
        "attributes"
    }
}

enum Change {
    Set(Vec<u8>, XattrFlags),
    Remove,
}

/// Whose attribute is changed.
fn named(call: &Call<'_>, caller: &Caller) -> Result<Target, Failure> {
    let flags = match call.syscall().name() {
        Some("fsetxattr" | "fremovexattr") => {
            call.note(|noted| {
                noted.asks(format_args!("fd={}", call.int_arg(0)));
            });
            return Ok(caller.descriptor(call.int_arg(0))?);
        }
        Some("lsetxattr" | "lremovexattr") => AtFlags::SYMLINK_NOFOLLOW,
        _ => AtFlags::empty(),
    };
    let path = call.memory().path(call.arg(0))?;
    call.note(|noted| {
        noted.path(&path);
    });
    Ok(caller.target(AT_FDCWD, &path, flags)?)
}

/// A name: ERANGE if it is empty or too long.
fn name(memory: Memory, address: u64) -> Result<CString, Failure> {
    match memory.c_string(address, NAME_MAX + 1) {
        Ok(name) if !name.is_empty() => Ok(name),
        Ok(_) | Err(ReadError::Unterminated { .. }) => Err(Errno::RANGE.into()),
        Err(other) => Err(other.into()),
    }
}

/// A value: E2BIG if it is too large.
fn value(memory: Memory, address: u64, size: u64) -> Result<Vec<u8>, Failure> {
    if size > SIZE_MAX {
        return Err(Errno::TOOBIG.into());
    }
    Ok(memory.bytes(address, usize::try_from(size).map_err(|_| Errno::TOOBIG)?)?)
}

fn set_flags(flags: i32) -> Result<XattrFlags, Errno> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    let known = XattrFlags::CREATE | XattrFlags::REPLACE;
    if known.contains(flags) { Ok(flags) } else { Err(Errno::INVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_grants_what_its_namespace_takes() {
        let listed = Attributes::granting(["trusted.overlay.", "security.capability", "user.", "security.x"]);
        for (name, grant) in [
            ("trusted.overlay.opaque", Capabilities::SYS_ADMIN),
            ("trusted.overlay", Capabilities::empty()),
            ("trusted.other", Capabilities::empty()),
            ("security.capability", Capabilities::SETFCAP),
            ("security.capability2", Capabilities::SYS_ADMIN),
            ("security.xyz", Capabilities::SYS_ADMIN),
            ("security.ima", Capabilities::empty()),
            ("user.anything", Capabilities::empty()),
        ] {
            assert_eq!(listed.grant(name.as_bytes()), grant, "{name}");
        }
        assert_eq!(Attributes::default().grant(b"trusted.overlay.opaque"), Capabilities::empty());
    }
}
