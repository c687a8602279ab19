/// An instruction-set architecture as seccomp tells them apart.
///
/// One machine runs several: an `x86_64` kernel also takes the calls of [`Arch::X86`] (`int 0x80`) and
/// [`Arch::X32`] programs. x32 has no audit token of its own; its calls carry bit 30 in their number
/// (`__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, the i386 ABI.
    X86,
    /// The x32 ABI: 64-bit instructions, 32-bit pointers.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm (EABI).
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit IBM Z.
    S390x,
    /// 31-bit IBM Z.
    S390,
    /// 64-bit LoongArch.
    Loongarch64,
    /// 64-bit POWER, little endian.
    Ppc64le,
    /// 64-bit POWER, big endian.
    Ppc64,
    /// 32-bit POWER.
    Ppc,
    /// 32-bit MIPS, big endian.
    Mips,
    /// 64-bit MIPS, big endian.
    Mips64,
    /// 64-bit MIPS with 32-bit pointers, big endian.
    Mips64n32,
    /// 32-bit MIPS, little endian.
    Mipsel,
    /// 64-bit MIPS, little endian.
    Mipsel64,
    /// 64-bit MIPS with 32-bit pointers, little endian.
    Mipsel64n32,
    /// A token that this crate does not know; none of its calls has a name.
    Unknown,
}

/// `__X32_SYSCALL_BIT`: set in the number of every x32 call.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Bits of an audit token (`include/uapi/linux/audit.h`): the ELF machine, word size and byte order.
const BITS_64: u32 = 0x8000_0000;
const LITTLE_ENDIAN: u32 = 0x4000_0000;
const MIPS64_N32: u32 = 0x2000_0000;

/// The token of an ELF machine (`EM_*`) with these word-size, byte-order and ABI bits.
const fn audit(elf_machine: u32, bits: u32) -> u32 {
    elf_machine | bits
}

/// Architecture, audit token, OCI name, short name.
const TABLE: &[(Arch, u32, &str, &str)] = &[
    (Arch::X86_64, audit(62, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_X86_64", "x86_64"),
    (Arch::X86, audit(3, LITTLE_ENDIAN), "SCMP_ARCH_X86", "x86"),
    (Arch::X32, audit(62, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_X32", "x32"),
    (Arch::Aarch64, audit(183, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_AARCH64", "aarch64"),
    (Arch::Arm, audit(40, LITTLE_ENDIAN), "SCMP_ARCH_ARM", "arm"),
    (Arch::Riscv64, audit(243, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_RISCV64", "riscv64"),
    (Arch::S390x, audit(22, BITS_64), "SCMP_ARCH_S390X", "s390x"),
    (Arch::S390, 22, "SCMP_ARCH_S390", "s390"),
    (Arch::Loongarch64, audit(258, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_LOONGARCH64", "loongarch64"),
    (Arch::Ppc64le, audit(21, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_PPC64LE", "ppc64le"),
    (Arch::Ppc64, audit(21, BITS_64), "SCMP_ARCH_PPC64", "ppc64"),
    (Arch::Ppc, 20, "SCMP_ARCH_PPC", "ppc"),
    (Arch::Mips, 8, "SCMP_ARCH_MIPS", "mips"),
    (Arch::Mips64, audit(8, BITS_64), "SCMP_ARCH_MIPS64", "mips64"),
    (Arch::Mips64n32, audit(8, BITS_64 | MIPS64_N32), "SCMP_ARCH_MIPS64N32", "mips64n32"),
    (Arch::Mipsel, audit(8, LITTLE_ENDIAN), "SCMP_ARCH_MIPSEL", "mipsel"),
    (Arch::Mipsel64, audit(8, BITS_64 | LITTLE_ENDIAN), "SCMP_ARCH_MIPSEL64", "mipsel64"),
    (
        Arch::Mipsel64n32,
        audit(8, BITS_64 | LITTLE_ENDIAN | MIPS64_N32),
        "SCMP_ARCH_MIPSEL64N32",
        "mipsel64n32",
    ),
];

impl Arch {
    /// Every architecture that has a name, in a fixed order.
    pub fn all() -> impl Iterator<Item = Arch> {
        TABLE.iter().map(|row| row.0)
    }

    /// The architecture this program was compiled for; [`Arch::Unknown`] where seccomp has no name for it.
    pub const fn native() -> Arch {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
            Arch::X32
        } else if cfg!(target_arch = "x86_64") {
            Arch::X86_64
        } else if cfg!(target_arch = "x86") {
            Arch::X86
        } else if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else if cfg!(target_arch = "arm") {
            Arch::Arm
        } else if cfg!(target_arch = "riscv64") {
            Arch::Riscv64
        } else if cfg!(target_arch = "s390x") {
            Arch::S390x
        } else if cfg!(target_arch = "loongarch64") {
            Arch::Loongarch64
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Arch::Ppc64le
        } else if cfg!(target_arch = "powerpc64") {
            Arch::Ppc64
        } else {
            Arch::Unknown
        }
    }

    /// The architectures whose calls a kernel of this one also takes, itself first.
    pub const fn family(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 | Arch::X86 | Arch::X32 => &[Arch::X86_64, Arch::X86, Arch::X32],
            Arch::Aarch64 | Arch::Arm => &[Arch::Aarch64, Arch::Arm],
            Arch::S390x | Arch::S390 => &[Arch::S390x, Arch::S390],
            Arch::Riscv64 => &[Arch::Riscv64],
            Arch::Loongarch64 => &[Arch::Loongarch64],
            Arch::Ppc64le => &[Arch::Ppc64le],
            Arch::Ppc64 | Arch::Ppc => &[Arch::Ppc64, Arch::Ppc],
            Arch::Mips | Arch::Mips64 | Arch::Mips64n32 => &[Arch::Mips64, Arch::Mips, Arch::Mips64n32],
            Arch::Mipsel | Arch::Mipsel64 | Arch::Mipsel64n32 => {
                &[Arch::Mipsel64, Arch::Mipsel, Arch::Mipsel64n32]
            }
            Arch::Unknown => &[],
        }
    }

    /// The `AUDIT_ARCH_*` token that `struct seccomp_data` carries; 0 for [`Arch::Unknown`].
    pub fn audit_token(self) -> u32 {
        self.row().map_or(0, |row| row.1)
    }

    /// The name in an OCI runtime profile, such as `SCMP_ARCH_X86_64`; `None` for [`Arch::Unknown`].
    pub fn oci_name(self) -> Option<&'static str> {
        self.row().map(|row| row.2)
    }

    /// The architecture that an OCI runtime profile calls `name`.
    pub fn from_oci_name(name: &str) -> Option<Arch> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The short name, as `uname -m` says it where it can; `unknown` for [`Arch::Unknown`].
    pub fn name(self) -> &'static str {
        self.row().map_or("unknown", |row| row.3)
    }

    /// The architecture of a call with this audit token and number.
    pub(crate) fn of(audit_token: u32, number: u32) -> Arch {
        match TABLE.iter().find(|row| row.1 == audit_token).map(|row| row.0) {
            Some(Arch::X86_64) if number & X32_BIT != 0 => Arch::X32,
            Some(arch) => arch,
            None => Arch::Unknown,
        }
    }

    /// Whether pointers and `long`s of its programs have 32 bits in memory.
    pub const fn is_32_bit(self) -> bool {
        matches!(
            self,
            Arch::X86
                | Arch::X32
                | Arch::Arm
                | Arch::S390
                | Arch::Ppc
                | Arch::Mips
                | Arch::Mipsel
                | Arch::Mips64n32
                | Arch::Mipsel64n32
        )
    }

    /// Whether its programs pass arguments in registers of 32 bits, so that the upper half of what a 64-bit
    /// kernel shows of one means nothing. Not x32 and n32: their pointers are short, their registers are not.
    pub const fn has_32_bit_registers(self) -> bool {
        matches!(self, Arch::X86 | Arch::Arm | Arch::S390 | Arch::Ppc | Arch::Mips | Arch::Mipsel)
    }

    fn row(self) -> Option<&'static (Arch, u32, &'static str, &'static str)> {
        TABLE.iter().find(|row| row.0 == self)
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_audit_h() {
        assert_eq!(Arch::X86_64.audit_token(), 0xC000_003E);
        assert_eq!(Arch::X86.audit_token(), 0x4000_0003);
        assert_eq!(Arch::Aarch64.audit_token(), 0xC000_00B7);
        assert_eq!(Arch::Arm.audit_token(), 0x4000_0028);
        assert_eq!(Arch::S390x.audit_token(), 0x8000_0016);
    }

    #[test]
    fn every_name_leads_back_to_its_architecture() {
        for arch in Arch::all() {
            assert_eq!(arch.oci_name().and_then(Arch::from_oci_name), Some(arch));
            assert!(arch.family().contains(&arch), "{arch} is in its own family");
        }
    }

    #[test]
    fn narrow_registers_have_narrow_words_and_not_the_other_way_round() {
        for arch in Arch::all() {
            let is_short = matches!(arch, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32);
            assert_eq!(arch.has_32_bit_registers(), arch.is_32_bit() && !is_short, "{arch}");
        }
    }

    #[test]
    fn x32_is_told_by_the_number() {
        assert_eq!(Arch::of(0xC000_003E, 83), Arch::X86_64);
        assert_eq!(Arch::of(0xC000_003E, X32_BIT + 83), Arch::X32);
        assert_eq!(Arch::of(0x1234, 83), Arch::Unknown);
    }
}
