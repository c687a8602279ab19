use seccomp_agent_profile::{Comparison, Condition};
use seccomp_agent_syscall::{Arch, Syscall};

/// A call of which argument values are remembered: one where a rule on them is worth its lines.
///
/// Only what is in registers is looked at. That is what a filter can compare, and what a container cannot change
/// afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    name: &'static str,
    parts: &'static [Part],
}

/// What of one argument is remembered.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    argument: u8,
    mask: u64,
}

/// The kernel takes the argument as an `int` or `unsigned int`, and does not look at the upper half.
const fn int(argument: u8) -> Part {
    Part { argument, mask: 0xffff_ffff }
}

/// `SOCK_TYPE_MASK` of `include/linux/net.h`. What else may be in a socket's type is `SOCK_CLOEXEC` and
/// `SOCK_NONBLOCK`.
const SOCKET_TYPE: u64 = 0xf;

/// `PROT_EXEC` of `asm-generic/mman-common.h`.
const EXECUTABLE: u64 = 4;

const PROTECTION: &[Part] = &[Part { argument: 2, mask: EXECUTABLE }];

const TABLE: &[Watched] = &[
    Watched { name: "clone", parts: &[int(0)] },
    Watched { name: "fcntl", parts: &[int(1)] },
    Watched { name: "fcntl64", parts: &[int(1)] },
    Watched { name: "ioctl", parts: &[int(1)] },
    Watched { name: "keyctl", parts: &[int(0)] },
    Watched { name: "mmap", parts: PROTECTION },
    Watched { name: "mmap2", parts: PROTECTION },
    Watched { name: "mprotect", parts: PROTECTION },
    Watched { name: "personality", parts: &[int(0)] },
    Watched { name: "pkey_mprotect", parts: PROTECTION },
    Watched { name: "prctl", parts: &[int(0)] },
    Watched { name: "setsockopt", parts: &[int(1), int(2)] },
    Watched { name: "socket", parts: &[int(0), Part { argument: 1, mask: SOCKET_TYPE }, int(2)] },
    Watched { name: "unshare", parts: &[int(0)] },
];

/// How many calls of one architecture are watched.
pub(crate) const WATCHED: usize = TABLE.len();

impl Watched {
    /// How `syscall` is watched, if it is, and its index below [`WATCHED`].
    pub(crate) fn find(syscall: Syscall) -> Option<(usize, &'static Self)> {
        let name = syscall.name()?;
        let index = TABLE.iter().position(|watched| watched.name == name)?;
        passes_values(syscall.arch, name).then(|| (index, &TABLE[index]))
    }

    pub(crate) fn by_index(index: usize) -> Option<&'static Self> {
        TABLE.get(index)
    }

    /// How many values a call of it is remembered by.
    pub(crate) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// The values of one call in one word; `None` where they do not fit.
    pub(crate) fn pack(&self, args: &[u64; 6]) -> Option<u64> {
        let width = self.width();
        self.parts.iter().try_fold(0_u64, |packed, part| {
            let value = args[usize::from(part.argument)] & part.mask;
            (value <= ones(width)).then(|| packed.checked_shl(width).unwrap_or_default() | value)
        })
    }

    /// The values that were packed.
    pub(crate) fn unpack(&self, packed: u64) -> Vec<u64> {
        let width = self.width();
        let parts = u32::try_from(self.parts.len()).unwrap_or_default();
        (0..parts).rev().map(|place| (packed >> (place * width)) & ones(width)).collect()
    }

    /// Whether values that were read from a file could have been recorded.
    pub(crate) fn could_be(&self, values: &[u64]) -> bool {
        values.len() == self.len()
            && self
                .parts
                .iter()
                .zip(values)
                .all(|(part, value)| *value & part.mask == *value && *value <= ones(self.width()))
    }

    /// The conditions that calls with these values pass, and no others.
    pub(crate) fn conditions(&self, values: &[u64]) -> Vec<Condition> {
        let parts = self.parts.iter().zip(values);
        let condition = |(part, value): (&Part, &u64)| {
            Condition::new(part.argument, Comparison::MaskedEqual { mask: part.mask, value: *value })
        };
        parts.filter_map(condition).collect()
    }

    /// Whether so many different values are all there are.
    pub(crate) fn is_everything(&self, count: usize) -> bool {
        let bits: u32 = self.parts.iter().map(|part| part.mask.count_ones()).sum();
        1_usize.checked_shl(bits).is_some_and(|all| count >= all)
    }

    /// Bits of a word that each value gets.
    fn width(&self) -> u32 {
        u64::BITS / u32::try_from(self.parts.len()).unwrap_or(u64::BITS)
    }
}

/// Whether the arguments are in registers, at the usual places. s390's `clone` has the stack first
/// (`CLONE_BACKWARDS2`), and the oldest `mmap` of some machines takes a pointer to all of its arguments.
fn passes_values(arch: Arch, name: &str) -> bool {
    match name {
        "clone" => !matches!(arch, Arch::S390 | Arch::S390x),
        "mmap" => !matches!(arch, Arch::X86 | Arch::Arm | Arch::S390 | Arch::S390x),
        _ => true,
    }
}

const fn ones(width: u32) -> u64 {
    u64::MAX >> (u64::BITS - width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn watched(name: &str) -> &'static Watched {
        Watched::find(Syscall::named(Arch::X86_64, name).unwrap()).unwrap().1
    }

    #[test]
    fn every_watched_call_exists() {
        for watched in TABLE {
            assert!(seccomp_agent_syscall::is_known_name(watched.name), "{}", watched.name);
        }
    }

    #[test]
    fn what_lies_in_memory_is_not_watched() {
        for (arch, name) in [(Arch::X86, "mmap"), (Arch::S390x, "mmap"), (Arch::S390x, "clone")] {
            assert_eq!(Watched::find(Syscall::named(arch, name).unwrap()), None, "{name} on {arch}");
        }
        assert!(Watched::find(Syscall::named(Arch::X86, "mmap2").unwrap()).is_some());
    }

    #[test]
    fn flags_beside_a_sockets_type_do_not_count() {
        let socket = watched("socket");
        let plain = socket.pack(&[2, 1, 6, 0, 0, 0]);
        assert_eq!(plain, socket.pack(&[2, 0x80801, 6, 9, 9, 9]));
        assert_eq!(socket.unpack(plain.unwrap()), [2, 1, 6]);
    }

    #[test]
    fn the_upper_half_of_an_int_does_not_count() {
        let ioctl = watched("ioctl");
        let packed = ioctl.pack(&[1, 0xdead_0000_5401, 0, 0, 0, 0]).unwrap();
        assert_eq!(ioctl.unpack(packed), [0x5401]);
        let conditions = ioctl.conditions(&[0x5401]);
        assert!(conditions.iter().all(|condition| condition.matches(&[0, 0xbeef_0000_5401, 0, 0, 0, 0])));
        assert!(!conditions[0].matches(&[0, 0x5402, 0, 0, 0, 0]));
    }

    #[test]
    fn values_that_do_not_fit_are_refused_and_not_cut() {
        assert_eq!(watched("socket").pack(&[2, 1, 0xffff_ffff, 0, 0, 0]), None);
    }

    #[test]
    fn executable_or_not_is_everything() {
        assert!(watched("mprotect").is_everything(2) && !watched("mprotect").is_everything(1));
        assert!(!watched("ioctl").is_everything(32));
    }

    proptest! {
        #[test]
        fn a_call_passes_the_conditions_made_from_it(index in 0..WATCHED, args: [u64; 6]) {
            let watched = Watched::by_index(index).unwrap();
            if let Some(packed) = watched.pack(&args) {
                let values = watched.unpack(packed);
                prop_assert!(watched.could_be(&values));
                prop_assert!(watched.conditions(&values).iter().all(|condition| condition.matches(&args)));
            }
        }
    }
}
