//! The fuzz target's corpus, without a fuzzer: an address, another one, a count, and the memory at the first.

#![allow(clippy::unwrap_used)] // What fails here is the test.

use std::path::Path;

use seccomp_agent_readarg::{Arch, PATH_MAX, ReadError, Source, walk};

/// Bytes that begin at an address, with nothing around them.
struct Image<'a>(u64, &'a [u8]);

impl Source for Image<'_> {
    fn fill(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let fault = ReadError::Fault { address };
        let start = usize::try_from(address.checked_sub(self.0).ok_or(fault)?).map_err(|_| fault)?;
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.1.get(start..end)).ok_or(fault)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn no_memory_of_the_corpus_breaks_the_reader() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/readarg");
    let mut read = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let (Some((base, rest)), true) = (bytes.split_first_chunk(), bytes.len() >= 18) else { continue };
        let (address, rest) = rest.split_first_chunk().unwrap();
        let (count, memory) = rest.split_first_chunk().unwrap();
        let image = Image(u64::from_le_bytes(*base), memory);
        let (address, count) = (u64::from_le_bytes(*address), u16::from_le_bytes(*count));
        for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
            read += u32::from(walk::c_string(&image, arch, address, PATH_MAX).is_ok());
            read += u32::from(walk::bytes(&image, arch, address, count.into()).is_ok());
            read += u32::from(walk::io_vectors(&image, arch, address, count.into()).is_ok());
            read += u32::from(walk::c_strings(&image, arch, address).is_ok());
        }
    }
    assert!(read >= 3, "{read}");
}
