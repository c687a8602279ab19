//! Strings, structures and arrays out of any [`Source`] of bytes: pure, so that it can be fuzzed.

use std::ffi::CString;

use seccomp_agent_notify::Arch;

use crate::error::ReadError;
use crate::layout::{Fields, IoVector, Layout, word_size};

/// What a path may have at most, the NUL included (`PATH_MAX` of `limits.h`).
pub const PATH_MAX: usize = 4096;

/// How many bytes are copied at once: no call takes a larger value than the 64 KiB of an extended attribute
/// (`XATTR_SIZE_MAX`).
pub const MAX_BYTES: usize = 64 << 10;

/// How many I/O vectors a call may pass (`UIO_MAXIOV`).
pub const MAX_IO_VECTORS: usize = 1024;

/// How many strings of an argument list are read. The kernel takes more; nobody decides by what comes later.
pub const MAX_STRINGS: usize = 1024;

/// How many bytes all strings of an argument list may have together, for the same reason.
pub const MAX_STRINGS_BYTES: usize = 1 << 20;

/// The smallest page of any architecture. Larger pages are multiples of it, so a read that keeps within one
/// such block keeps within a page.
const PAGE: usize = 4096;

/// Where the bytes come from.
pub trait Source {
    /// Fills `buffer` from `address` on, or fails. The range is known not to wrap around.
    fn fill(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

/// Fills `buffer` from `address` on. Nothing is read for an empty one: the kernel looks at no address then.
pub fn fill(source: &impl Source, arch: Arch, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
    if buffer.is_empty() {
        return Ok(());
    }
    let last = address.checked_add(buffer.len() as u64 - 1).ok_or(ReadError::Fault { address })?;
    if arch.has_32_bit_registers() && last > u64::from(u32::MAX) {
        return Err(ReadError::Fault { address });
    }
    source.fill(address, buffer)
}

/// `len` bytes.
pub fn bytes(source: &impl Source, arch: Arch, address: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    if len > MAX_BYTES {
        return Err(ReadError::TooLarge { address, max: MAX_BYTES });
    }
    let mut buffer = vec![0; len];
    fill(source, arch, address, &mut buffer)?;
    Ok(buffer)
}

/// A string that ends within `max` bytes, the NUL included. Goes from page to page and never into one that
/// begins behind the string's end.
pub fn c_string(source: &impl Source, arch: Arch, address: u64, max: usize) -> Result<CString, ReadError> {
    let mut string = Vec::new();
    let mut chunk = [0; PAGE];
    let mut at = address;
    while string.len() < max {
        let to_page_end = PAGE - usize::try_from(at % PAGE as u64).unwrap_or(0);
        let chunk = &mut chunk[..to_page_end.min(max - string.len())];
        fill(source, arch, at, chunk)?;
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            string.extend_from_slice(&chunk[..end]);
            // The bytes hold no NUL: the first one ended them.
            return Ok(CString::new(string).unwrap_or_default());
        }
        string.extend_from_slice(chunk);
        at = at.checked_add(chunk.len() as u64).ok_or(ReadError::Fault { address: at })?;
    }
    Err(ReadError::Unterminated { address, max })
}

/// A structure.
pub fn structure<T: Layout>(source: &impl Source, arch: Arch, address: u64) -> Result<T, ReadError> {
    let bytes = bytes(source, arch, address, T::size(arch))?;
    Ok(T::parse(&mut Fields::new(&bytes, arch)))
}

/// `count` I/O vectors.
pub fn io_vectors(
    source: &impl Source,
    arch: Arch,
    address: u64,
    count: u64,
) -> Result<Vec<IoVector>, ReadError> {
    let number = usize::try_from(count).unwrap_or(usize::MAX);
    if number > MAX_IO_VECTORS {
        return Err(ReadError::TooManyVectors { count, max: MAX_IO_VECTORS });
    }
    let bytes = bytes(source, arch, address, number * IoVector::size(arch))?;
    let mut fields = Fields::new(&bytes, arch);
    Ok((0..number).map(|_| IoVector::parse(&mut fields)).collect())
}

/// The strings of a list that a null pointer ends, such as `argv`. A null list has none, as for `execve(2)`.
pub fn c_strings(source: &impl Source, arch: Arch, address: u64) -> Result<Vec<CString>, ReadError> {
    let mut strings = Vec::new();
    if address == 0 {
        return Ok(strings);
    }
    let mut room = MAX_STRINGS_BYTES;
    let mut at = address;
    loop {
        let pointer = structure::<Pointer>(source, arch, at)?.0;
        if pointer == 0 {
            return Ok(strings);
        }
        if strings.len() == MAX_STRINGS {
            return Err(ReadError::TooLarge { address, max: MAX_STRINGS });
        }
        let too_large = |error| match error {
            ReadError::Unterminated { .. } => ReadError::TooLarge { address, max: MAX_STRINGS_BYTES },
            other => other,
        };
        let string = c_string(source, arch, pointer, room).map_err(too_large)?;
        room -= string.as_bytes_with_nul().len();
        strings.push(string);
        at = at.checked_add(word_size(arch) as u64).ok_or(ReadError::Fault { address: at })?;
    }
}

struct Pointer(u64);

impl Layout for Pointer {
    fn size(arch: Arch) -> usize {
        word_size(arch)
    }

    fn parse(fields: &mut Fields<'_>) -> Self {
        Self(fields.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that begin at an address, with nothing around them.
    struct Image(u64, Vec<u8>);

    impl Source for Image {
        fn fill(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            let fault = ReadError::Fault { address };
            let start = usize::try_from(address.checked_sub(self.0).ok_or(fault)?).map_err(|_| fault)?;
            let bytes = self.1.get(start..).and_then(|bytes| bytes.get(..buffer.len())).ok_or(fault)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn vectors_and_pointers_are_as_wide_as_the_program_has_them() {
        let mut words = Vec::new();
        for word in [0x1000_u32, 5, 0x2000, 6] {
            words.extend(word.to_ne_bytes());
        }
        let image = Image(0x5000, words);
        let narrow = io_vectors(&image, Arch::X86, 0x5000, 2).unwrap();
        assert_eq!(narrow, [IoVector { base: 0x1000, len: 5 }, IoVector { base: 0x2000, len: 6 }]);
        let wide = io_vectors(&image, Arch::X86_64, 0x5000, 1).unwrap();
        assert_eq!(wide, [IoVector { base: 0x5_0000_1000, len: 0x6_0000_2000 }]);
        // Programs for x32 have 32-bit pointers as well.
        assert_eq!(io_vectors(&image, Arch::X32, 0x5000, 2).unwrap(), narrow);
    }

    #[test]
    fn bounds_hold() {
        let image = Image(0, vec![1; 2 * MAX_BYTES]);
        let arch = Arch::X86_64;
        assert_eq!(bytes(&image, arch, 0, MAX_BYTES).map(|bytes| bytes.len()), Ok(MAX_BYTES));
        assert!(matches!(bytes(&image, arch, 0, MAX_BYTES + 1), Err(ReadError::TooLarge { .. })));
        assert!(matches!(io_vectors(&image, arch, 0, 1025), Err(ReadError::TooManyVectors { .. })));
        assert!(matches!(io_vectors(&image, arch, 0, u64::MAX), Err(ReadError::TooManyVectors { .. })));
        assert!(matches!(c_string(&image, arch, 1, PATH_MAX), Err(ReadError::Unterminated { .. })));
    }

    #[test]
    fn an_argument_list_is_bounded() {
        // `count` pointers to one string of a page's end, and the null pointer.
        let list = |count: usize| {
            let mut bytes: Vec<u8> = (0..count).flat_map(|_| 0x8fff_u64.to_ne_bytes()).collect();
            bytes.resize(0x7000, 0);
            bytes.extend(vec![0; 0x1000]);
            c_strings(&Image(0x1000, bytes), Arch::X86_64, 0x1000).map(|strings| strings.len())
        };
        assert_eq!(list(MAX_STRINGS), Ok(MAX_STRINGS));
        assert_eq!(list(MAX_STRINGS + 1), Err(ReadError::TooLarge { address: 0x1000, max: MAX_STRINGS }));
        assert_eq!(c_strings(&Image(0, vec![1; 8]), Arch::X86_64, 0), Ok(Vec::new()));
    }

    #[test]
    fn addresses_do_not_wrap_around() {
        let image = Image(0, vec![1; 16]);
        let fault = |address| Err(ReadError::Fault { address });
        assert_eq!(bytes(&image, Arch::X86_64, u64::MAX, 2), fault(u64::MAX));
        assert_eq!(bytes(&image, Arch::X86, 0xffff_ffff, 2), fault(0xffff_ffff));
        assert_eq!(bytes(&image, Arch::X86_64, u64::MAX, 0), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn a_string_is_what_stands_before_the_first_nul(
            content in proptest::collection::vec(any::<u8>(), 0..9000),
            base in 0_u32..0x3000,
            max in 1_usize..9000,
        ) {
            let expected = content.iter().position(|byte| *byte == 0).filter(|end| *end < max);
            let image = Image(base.into(), content.clone());
            let read = c_string(&image, Arch::X86_64, base.into(), max);
            match expected {
                Some(end) if content.len() >= end => {
                    let page_end = ((base as usize + end) / PAGE + 1) * PAGE - base as usize;
                    // What lies behind the string in its last page is read along.
                    if content.len() >= page_end.min(max) {
                        prop_assert_eq!(read.unwrap().into_bytes(), &content[..end]);
                    }
                }
                _ => prop_assert!(read.is_err()),
            }
        }

        #[test]
        fn no_memory_makes_reading_panic(
            content in proptest::collection::vec(any::<u8>(), 0..512),
            base in any::<u64>(),
            address in any::<u64>(),
            count in any::<u64>(),
            narrow in any::<bool>(),
        ) {
            let arch = if narrow { Arch::X86 } else { Arch::X86_64 };
            let image = Image(base, content);
            let _ = c_strings(&image, arch, address);
            let _ = c_strings(&image, arch, base);
            let _ = io_vectors(&image, arch, base, count % 2048);
            let _ = c_string(&image, arch, address, PATH_MAX);
        }
    }
}
