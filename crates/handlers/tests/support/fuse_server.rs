//! A program that answers for a file system of FUSE (`fuse(4)`): a directory with a file `name`.

use std::fs::File;
use std::io::{Read, Write};

use rustix::io::Errno;

/// What the kernel asks (`linux/fuse.h`), as far as this answers.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const INIT: u32 = 26;

const ROOT: u64 = 1;
const NAME: u64 = 2;

/// Answers until the file system is unmounted. The kernel waits for none of this when it is mounted.
pub(crate) fn serve(mut device: File, content: &str, uid: u32) {
    let mut request = vec![0; 1 << 17];
    while let Ok(read) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (unique, node, payload) = (long(8), long(16), &request[40..read]);
        let answer = match word(4) {
            FORGET => continue,
            INIT => Ok(words(&[7, 31, 65536, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            GETATTR => Ok([words(&[0, 0, 0, 0]), attributes(node, content, uid)].concat()),
            LOOKUP if node == ROOT && payload == b"name\0" => {
                let ids = [NAME, 0, 0, 0].map(u64::to_ne_bytes).concat();
                Ok([ids, words(&[0, 0]), attributes(NAME, content, uid)].concat())
            }
            LOOKUP => Err(Errno::NOENT),
            OPEN => Ok(vec![0; 16]),
            READ => {
                let offset = usize::try_from(u64::from_ne_bytes(payload[8..16].try_into().unwrap())).unwrap();
                Ok(content.as_bytes().get(offset..).unwrap_or_default().to_vec())
            }
            STATFS => Ok(vec![0; 80]),
            RELEASE => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        let (error, body) = answer.map_or_else(|errno| (-errno.raw_os_error(), Vec::new()), |body| (0, body));
        let len = u32::try_from(16 + body.len()).unwrap();
        let head = [len.to_ne_bytes(), error.to_ne_bytes()].concat();
        // Whoever asked may not wait any more.
        let _ = device.write(&[head, unique.to_ne_bytes().to_vec(), body].concat());
    }
}

/// `struct fuse_attr`.
fn attributes(node: u64, content: &str, uid: u32) -> Vec<u8> {
    let size = if node == NAME { content.len() as u64 } else { 0 };
    let mode = if node == ROOT { 0o40_755 } else { 0o100_644 };
    let long = [node, size, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
    [long, words(&[0, 0, 0, mode, 1, uid, uid, 0, 4096, 0])].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
