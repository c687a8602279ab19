//! What the kernel says of a mount by its number (`statmount(2)`, `listmount(2)`, Linux 6.8).

use std::ffi::{CStr, c_long};

use anyhow::{Context, ensure};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// The system calls have the same numbers on every architecture.
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;

/// `STATX_MNT_ID_UNIQUE`.
const UNIQUE_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is asked for: `STATMOUNT_MNT_BASIC`, `_MNT_ROOT`, `_MNT_POINT` and `_FS_TYPE`.
const ASKED: u64 = 0x2 | 0x8 | 0x10 | 0x20;

/// `LSMT_ROOT`: all mounts of the namespace.
const ALL: u64 = u64::MAX;

/// `struct mnt_id_req`.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    parameter: u64,
}

/// Where fields of `struct statmount` are, in bytes, and where the texts that it points to begin.
const FS_TYPE: usize = 36;
const ATTRIBUTES: usize = 64;
const ROOT: usize = 104;
const POINT: usize = 108;
const TEXTS: usize = 512;

/// Type, root, mount point and attributes of the mount that `path` is in, and whether it is listed.
pub(crate) fn describe(path: &str) -> anyhow::Result<String> {
    let mount = statx(CWD, path, AtFlags::empty(), UNIQUE_ID).context("statx")?.stx_mnt_id;
    let said = ask(STATMOUNT, mount, ASKED)?;
    let field = |at: usize| -> anyhow::Result<&[u8; 4]> {
        said.get(at..).and_then(|rest| rest.first_chunk()).context("too short")
    };
    let text = |at: usize| -> anyhow::Result<&str> {
        let offset = u32::from_ne_bytes(*field(at)?) as usize;
        let text = said.get(TEXTS + offset..).context("a text is elsewhere")?;
        Ok(CStr::from_bytes_until_nul(text)?.to_str()?)
    };
    let attributes = u32::from_ne_bytes(*field(ATTRIBUTES)?);
    let listed = ask(LISTMOUNT, ALL, 0)?;
    let is_listed = listed.chunks_exact(8).any(|number| number == mount.to_ne_bytes());
    Ok(format!("{} {} {} {attributes:#x} listed={is_listed}", text(FS_TYPE)?, text(ROOT)?, text(POINT)?))
}

/// What one of the two calls writes.
fn ask(call: c_long, mount: u64, parameter: u64) -> anyhow::Result<Vec<u8>> {
    let request = Request { size: 24, spare: 0, mount, parameter };
    let mut buffer = [0_u64; 1024];
    let room = if call == STATMOUNT { size_of_val(&buffer) } else { buffer.len() };
    // SAFETY: the request is valid for reads and lives until the end of the call, and the buffer is writable and as
    // large as `room` says, in bytes for the one call and in numbers for the other.
    let outcome = unsafe { libc::syscall(call, &raw const request, buffer.as_mut_ptr(), room, 0_u32) };
    ensure!(outcome >= 0, "call {call}: {}", std::io::Error::last_os_error());
    Ok(buffer.iter().flat_map(|number| number.to_ne_bytes()).collect())
}
