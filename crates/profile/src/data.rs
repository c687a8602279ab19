use seccomp_agent_syscall::{Arch, Syscall};

/// What a filter sees of a system call: `struct seccomp_data` of `linux/seccomp.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeccompData {
    /// The number of the call.
    pub number: u32,
    /// The architecture, an `AUDIT_ARCH_*` token.
    pub audit_arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// The six argument registers; those that the call does not use hold what they held.
    pub arguments: [u64; 6],
}

/// The order of the two halves of a 64-bit value in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Lower half first.
    Little,
    /// Upper half first.
    Big,
}

pub(crate) const SIZE: u32 = 64;
pub(crate) const NUMBER: u32 = 0;
pub(crate) const AUDIT_ARCH: u32 = 4;
const INSTRUCTION_POINTER: u32 = 8;
const ARGUMENTS: u32 = 16;

impl SeccompData {
    /// A call of `syscall` with these arguments, from address 0.
    pub fn new(syscall: Syscall, arguments: [u64; 6]) -> Self {
        Self {
            number: syscall.number,
            audit_arch: syscall.arch.audit_token(),
            instruction_pointer: 0,
            arguments,
        }
    }

    /// Which call it is.
    pub fn syscall(&self) -> Syscall {
        Syscall::decode(self.audit_arch, self.number)
    }

    /// The 32-bit word at a byte offset, as the kernel lays the structure out; `None` outside or between words.
    pub fn word(&self, offset: u32, order: ByteOrder) -> Option<u32> {
        let half = |value: u64, second: bool| {
            let (low, high) = split(value);
            if second == (order == ByteOrder::Little) { high } else { low }
        };
        if !offset.is_multiple_of(4) {
            return None;
        }
        let second = offset % 8 == 4;
        match offset {
            NUMBER => Some(self.number),
            AUDIT_ARCH => Some(self.audit_arch),
            INSTRUCTION_POINTER..ARGUMENTS => Some(half(self.instruction_pointer, second)),
            ARGUMENTS..SIZE => {
                let argument = usize::try_from((offset - ARGUMENTS) / 8).ok()?;
                self.arguments.get(argument).map(|value| half(*value, second))
            }
            _ => None,
        }
    }
}

/// The lower and the upper half.
pub(crate) fn split(value: u64) -> (u32, u32) {
    const LOWER: u64 = 0xFFFF_FFFF;
    ((value & LOWER) as u32, (value >> 32) as u32)
}

impl ByteOrder {
    /// The byte order of kernels of this architecture.
    pub fn of(arch: Arch) -> Self {
        /// `__AUDIT_ARCH_LE` of `linux/audit.h`.
        const LITTLE_ENDIAN: u32 = 0x4000_0000;
        if arch.audit_token() & LITTLE_ENDIAN == 0 { ByteOrder::Big } else { ByteOrder::Little }
    }

    /// Where the lower and the upper half of an argument lie.
    pub(crate) fn halves(self, argument: u8) -> (u32, u32) {
        let offset = ARGUMENTS + 8 * u32::from(argument);
        match self {
            ByteOrder::Little => (offset, offset + 4),
            ByteOrder::Big => (offset + 4, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_as_the_byte_order_says() {
        let data = SeccompData { arguments: [0, 0x1_0000_0002, 0, 0, 0, 0], ..SeccompData::default() };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let (low, high) = order.halves(1);
            assert_eq!((data.word(low, order), data.word(high, order)), (Some(2), Some(1)), "{order:?}");
        }
        assert_eq!(ByteOrder::of(Arch::X86_64), ByteOrder::Little);
        assert_eq!(ByteOrder::of(Arch::S390x), ByteOrder::Big);
    }

    #[test]
    fn there_is_nothing_outside_or_between_the_words() {
        let data = SeccompData::default();
        for offset in [1, 2, 3, 63, 64, 68, u32::MAX - 3] {
            assert_eq!(data.word(offset, ByteOrder::Little), None, "{offset}");
        }
    }
}
