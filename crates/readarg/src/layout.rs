use seccomp_agent_notify::Arch;

/// A structure of the kernel's ABI, as its fields lie in a caller's memory.
///
/// ```
/// use seccomp_agent_readarg::{Arch, Fields, Layout};
///
/// /// `struct open_how` of `openat2(2)`.
/// struct OpenHow { flags: u64, mode: u64, resolve: u64 }
///
/// impl Layout for OpenHow {
///     fn size(_: Arch) -> usize { 24 }
///     fn parse(fields: &mut Fields<'_>) -> Self {
///         Self { flags: fields.u64(), mode: fields.u64(), resolve: fields.u64() }
///     }
/// }
/// ```
pub trait Layout: Sized {
    /// How many bytes it has in the memory of a program of `arch`.
    fn size(arch: Arch) -> usize;

    /// Takes the fields in their order.
    fn parse(fields: &mut Fields<'_>) -> Self;
}

/// The bytes of a structure, taken field by field in the machine's byte order. Past the end there are zeros.
#[derive(Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    arch: Arch,
}

impl<'a> Fields<'a> {
    /// The fields of a program of `arch`.
    pub const fn new(bytes: &'a [u8], arch: Arch) -> Self {
        Self { bytes, arch }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.bytes.split_at(N.min(self.bytes.len()));
        self.bytes = rest;
        let mut array = [0; N];
        array[..field.len()].copy_from_slice(field);
        array
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.array())
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.array())
    }

    /// The next pointer, `size_t` or `unsigned long`: 32 or 64 bits, as the program has them.
    pub fn word(&mut self) -> u64 {
        if self.arch.is_32_bit() { u64::from(self.u32()) } else { self.u64() }
    }
}

/// How many bytes a pointer has in a program of `arch`.
pub(crate) const fn word_size(arch: Arch) -> usize {
    if arch.is_32_bit() { 4 } else { 8 }
}

/// One `struct iovec` of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoVector {
    /// Where its bytes begin.
    pub base: u64,
    /// How many there are said to be.
    pub len: u64,
}

impl Layout for IoVector {
    fn size(arch: Arch) -> usize {
        2 * word_size(arch)
    }

    fn parse(fields: &mut Fields<'_>) -> Self {
        Self { base: fields.word(), len: fields.word() }
    }
}
