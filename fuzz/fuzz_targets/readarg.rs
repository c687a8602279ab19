//! Strings, lists and vectors out of a caller's memory, of which nothing can be believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_agent_readarg::walk::{self, MAX_STRINGS_BYTES};
use seccomp_agent_readarg::{Arch, MAX_BYTES, MAX_IO_VECTORS, MAX_STRINGS, PATH_MAX, ReadError, Source};

/// Bytes that begin at an address, with nothing around them.
struct Image<'a>(u64, &'a [u8]);

impl Source for Image<'_> {
    fn fill(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let last = buffer.len() as u64 - 1;
        assert!(address.checked_add(last).is_some(), "the range does not wrap around");
        let fault = ReadError::Fault { address };
        let start = usize::try_from(address.checked_sub(self.0).ok_or(fault)?).map_err(|_| fault)?;
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.1.get(start..end)).ok_or(fault)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

fuzz_target!(|input: (u64, u64, u16, &[u8])| {
    let (base, address, count, memory) = input;
    let image = Image(base, memory);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for at in [address, base, base.wrapping_add(address % 64)] {
            if let Ok(path) = walk::c_string(&image, arch, at, PATH_MAX) {
                assert!(path.as_bytes().len() < PATH_MAX);
            }
            if let Ok(bytes) = walk::bytes(&image, arch, at, count.into()) {
                assert!(bytes.len() == usize::from(count) && bytes.len() <= MAX_BYTES);
            }
            if let Ok(vectors) = walk::io_vectors(&image, arch, at, count.into()) {
                assert!(vectors.len() <= MAX_IO_VECTORS);
            }
            if let Ok(strings) = walk::c_strings(&image, arch, at) {
                assert!(strings.len() <= MAX_STRINGS);
                let bytes: usize = strings.iter().map(|string| string.as_bytes_with_nul().len()).sum();
                assert!(bytes <= MAX_STRINGS_BYTES);
            }
        }
    }
});
