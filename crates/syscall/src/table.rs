use crate::arch::{Arch, X32_BIT};
use crate::x32;

/// One system call of one architecture.
///
/// Every pair is a valid value; one that the kernel headers do not define has no [name](Syscall::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Syscall {
    /// The architecture of the program that made the call.
    pub arch: Arch,
    /// The number as the kernel sees it (`seccomp_data.nr`): for x32 with bit 30 set.
    pub number: u32,
}

/// Dispatches to the table of an architecture; those without one give `$none`.
macro_rules! with_table {
    ($arch:expr, $table:ident => $some:expr, $none:expr) => {
        match $arch {
            Arch::X86_64 => {
                use syscalls::x86_64::Sysno as $table;
                $some
            }
            Arch::X86 => {
                use syscalls::x86::Sysno as $table;
                $some
            }
            Arch::Aarch64 => {
                use syscalls::aarch64::Sysno as $table;
                $some
            }
            Arch::Arm => {
                use syscalls::arm::Sysno as $table;
                $some
            }
            Arch::Riscv64 => {
                use syscalls::riscv64::Sysno as $table;
                $some
            }
            Arch::S390x => {
                use syscalls::s390x::Sysno as $table;
                $some
            }
            Arch::Loongarch64 => {
                use syscalls::loongarch64::Sysno as $table;
                $some
            }
            Arch::Ppc64 | Arch::Ppc64le => {
                use syscalls::powerpc64::Sysno as $table;
                $some
            }
            Arch::Ppc => {
                use syscalls::powerpc::Sysno as $table;
                $some
            }
            Arch::Mips | Arch::Mipsel => {
                use syscalls::mips::Sysno as $table;
                $some
            }
            Arch::Mips64 | Arch::Mipsel64 => {
                use syscalls::mips64::Sysno as $table;
                $some
            }
            Arch::X32 | Arch::S390 | Arch::Mips64n32 | Arch::Mipsel64n32 | Arch::Unknown => $none,
        }
    };
}

impl Syscall {
    /// The call with this architecture and number.
    pub const fn new(arch: Arch, number: u32) -> Self {
        Self { arch, number }
    }

    /// What `struct seccomp_data` means with this audit token and number.
    pub fn decode(audit_token: u32, number: u32) -> Self {
        Self { arch: Arch::of(audit_token, number), number }
    }

    /// The call that `name` means on `arch`; `None` where that architecture has no such call.
    pub fn named(arch: Arch, name: &str) -> Option<Self> {
        let number = if arch == Arch::X32 {
            x32::number(name).map(|n| n | X32_BIT)
        } else {
            with_table!(arch, Table => spelled(name).parse::<Table>().ok().map(|call| call.id().cast_unsigned()), None)
        };
        number.map(|number| Self { arch, number })
    }

    /// The name as in the kernel's tables, such as `openat`; `None` for a number that has none.
    pub fn name(self) -> Option<&'static str> {
        if self.arch == Arch::X32 {
            return x32::name(self.number & !X32_BIT);
        }
        let number = usize::try_from(self.number).ok()?;
        with_table!(self.arch, Table => Table::new(number).map(|call| plain(call.name())), None)
    }

    /// All named calls of `arch`, by number.
    pub fn all(arch: Arch) -> Box<dyn Iterator<Item = Syscall>> {
        if arch == Arch::X32 {
            return Box::new(x32::numbers().map(|n| Syscall::new(Arch::X32, n | X32_BIT)));
        }
        with_table!(
            arch,
            Table => Box::new(Table::iter().map(move |call| Syscall::new(arch, call.id().cast_unsigned()))),
            Box::new(std::iter::empty())
        )
    }
}

impl std::fmt::Display for Syscall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.arch, self.number),
        }
    }
}

/// Whether `name` is a system call on any architecture. A profile may name calls of others than its own.
pub fn is_known_name(name: &str) -> bool {
    Arch::all().any(|arch| Syscall::named(arch, name).is_some())
}

/// The one call whose name is a Rust keyword: i386's `break`.
fn spelled(name: &str) -> &str {
    if name == "break" { "r#break" } else { name }
}

fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_number_on_every_architecture() {
        for arch in Arch::all() {
            for call in Syscall::all(arch) {
                let name = call.name().unwrap_or_else(|| panic!("{call:?} has a name"));
                assert_eq!(Syscall::named(arch, name), Some(call), "{name} on {arch}");
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernels_tables() {
        for (arch, name, number) in [
            (Arch::X86_64, "read", 0),
            (Arch::X86_64, "fchmodat2", 452),
            (Arch::X86, "break", 17),
            (Arch::X86, "chown32", 212),
            (Arch::X32, "mkdir", X32_BIT + 83),
            (Arch::X32, "execve", X32_BIT + 520),
            (Arch::Aarch64, "mkdirat", 34),
            (Arch::Arm, "mkdir", 39),
            (Arch::Mips, "mkdir", 4039),
        ] {
            assert_eq!(Syscall::named(arch, name).map(|call| call.number), Some(number), "{name} on {arch}");
        }
    }

    #[test]
    fn what_has_no_name_is_shown_by_number() {
        assert_eq!(Syscall::new(Arch::X86_64, 9999).to_string(), "x86_64:9999");
        assert_eq!(Syscall::decode(1, 2).to_string(), "unknown:2");
        assert_eq!(Syscall::named(Arch::Aarch64, "mkdir"), None);
        assert!(is_known_name("mkdir") && !is_known_name("mkdirs"));
    }
}
