use std::ffi::CString;

use rustix::mount::{MountFlags, MountPropagationFlags};
use seccomp_agent_registry::{Call, ReadError};

/// The arguments of a `mount(2)`, copied once.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) flags: MountFlags,
    pub(super) kind: Option<CString>,
    pub(super) source: Option<CString>,
    pub(super) options: Option<CString>,
    pub(super) target: CString,
}

/// What a `mount(2)` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A file system is mounted.
    New,
    /// A tree is shown in another place as well.
    Bind { recursive: bool },
    /// A mount, and unless it is `mount_only` its file system, is changed.
    Remount { mount_only: bool },
    /// Whether others see what is mounted on it.
    Propagation(MountPropagationFlags),
    /// A mount goes to another place.
    Move,
}

/// How many bytes of mount options the kernel looks at: a page.
const MAX_OPTIONS: usize = 4096;

/// What a path or a name may have at most, the NUL included.
const PATH_MAX: usize = 4096;

/// Before Linux 2.4 the flags had to carry this number in their upper half; it is still ignored there.
const MAGIC: u32 = 0xc0ed_0000;

const PROPAGATIONS: MountPropagationFlags = MountPropagationFlags::SHARED
    .union(MountPropagationFlags::PRIVATE)
    .union(MountPropagationFlags::DOWNSTREAM)
    .union(MountPropagationFlags::UNBINDABLE);

impl Request {
    /// In the order in which the kernel reads. `None` for what `is_wanted` says nobody is interested in: of that
    /// nothing but flags and type is read, since the options of other file systems need not be strings.
    pub(super) fn read(
        call: &Call<'_>,
        is_wanted: impl FnOnce(Operation, Option<&CString>) -> bool,
    ) -> Result<Option<Self>, ReadError> {
        let (operation, flags) = Operation::of(call.arg(3));
        let memory = call.memory();
        let kind = memory.optional_c_string(call.arg(2), PATH_MAX)?;
        if !is_wanted(operation, kind.as_ref()) {
            return Ok(None);
        }
        let source = memory.optional_c_string(call.arg(0), PATH_MAX)?;
        let takes_options = matches!(operation, Operation::New | Operation::Remount { .. });
        let options = if takes_options { memory.optional_c_string(call.arg(4), MAX_OPTIONS)? } else { None };
        let target = memory.path(call.arg(1))?;
        Ok(Some(Self { operation, flags, kind, source, options, target }))
    }
}

impl Operation {
    /// As the kernel tells them apart.
    fn of(argument: u64) -> (Self, MountFlags) {
        #[allow(clippy::cast_possible_truncation)] // All flags are in the lower half.
        let bits = argument as u32;
        let bits = if bits & 0xffff_0000 == MAGIC { bits & 0xffff } else { bits };
        let has = |bit: u32| bits & bit != 0;
        let propagation = MountPropagationFlags::from_bits_retain(bits) & PROPAGATIONS;
        let flags = MountFlags::from_bits_retain(bits);
        let is_bind = flags.contains(MountFlags::BIND);
        let operation = if has(REMOUNT) {
            Self::Remount { mount_only: is_bind }
        } else if is_bind {
            Self::Bind { recursive: has(MountPropagationFlags::REC.bits()) }
        } else if !propagation.is_empty() {
            Self::Propagation(propagation)
        } else if has(MOVE) {
            Self::Move
        } else {
            Self::New
        };
        (operation, flags)
    }
}

/// `MS_REMOUNT` and `MS_MOVE` of `mount(2)`.
const REMOUNT: u32 = 1 << 5;
const MOVE: u32 = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_as_by_the_kernel() {
        let (private, slave) = (MountPropagationFlags::PRIVATE, MountPropagationFlags::DOWNSTREAM);
        for (bits, operation) in [
            (0, Operation::New),
            (1, Operation::New),
            (0xc0ed_0001, Operation::New),
            (0xc0ed_0020, Operation::Remount { mount_only: false }),
            (32 | 4096, Operation::Remount { mount_only: true }),
            (32 | 8192, Operation::Remount { mount_only: false }),
            (4096, Operation::Bind { recursive: false }),
            (4096 | 16384 | 1 << 18, Operation::Bind { recursive: true }),
            (1 << 18, Operation::Propagation(private)),
            (1 << 18 | 1 << 19 | 8192, Operation::Propagation(private | slave)),
            (8192, Operation::Move),
        ] {
            assert_eq!(Operation::of(bits).0, operation, "{bits:#x}");
        }
    }
}
