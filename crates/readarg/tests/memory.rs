//! Reading on the real kernel: what lies where, and what the kernel says about it.
#![allow(unsafe_code)] // Pages are mapped, filled and left out.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::ffi::{CStr, OsStr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::thread::{CapabilitySet, capabilities, gettid, set_capabilities};
use seccomp_agent_readarg::{Arch, Errno, IoVector, MAX_BYTES, Memory, PATH_MAX, ReadError};

const KERNEL_ADDRESS: u64 = 0xffff_8880_0000_0000;

fn own(arch: Arch) -> Memory {
    Memory::of(gettid().as_raw_nonzero().get().cast_unsigned(), arch)
}

/// Where the next pages of a test go.
static NEXT: AtomicUsize = AtomicUsize::new(0x1000_0000);

/// Pages below 2 GiB, of which the last cannot be read.
struct Pages {
    start: *mut u8,
    readable: usize,
    page: usize,
}

impl Pages {
    fn new(count: usize) -> Self {
        let page = rustix::param::page_size();
        let size = (count + 1) * page;
        let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // The kernel takes the hint where nothing is mapped, as in the lower part of a 64-bit program.
        let hint = std::ptr::without_provenance_mut(NEXT.fetch_add(size, Ordering::Relaxed));
        // SAFETY: a new mapping, not a fixed one, disturbs no other memory.
        let start: *mut u8 = unsafe { mmap_anonymous(hint, size, read_write, private) }.unwrap().cast();
        let readable = count * page;
        // SAFETY: within the mapping above, to which no reference exists.
        unsafe { mprotect(start.wrapping_add(readable).cast(), page, MprotectFlags::empty()) }.unwrap();
        Self { start, readable, page }
    }

    fn address(&self, offset: usize) -> u64 {
        self.start as u64 + offset as u64
    }

    /// Writes `bytes` so that they end `before_end` bytes before the readable part does; returns where.
    fn write_before_end(&self, bytes: &[u8], before_end: usize) -> u64 {
        let offset = self.readable - before_end - bytes.len();
        // SAFETY: the range lies within the readable part of the mapping (the subtraction would have panicked),
        // and nobody holds a reference to it.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.wrapping_add(offset), bytes.len());
        };
        self.address(offset)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made by `new`; nobody holds a reference to it.
        unsafe { munmap(self.start.cast(), self.readable + self.page) }.unwrap();
    }
}

#[test]
fn a_string_may_end_at_the_last_byte_of_the_last_page() {
    let pages = Pages::new(1);
    let at = pages.write_before_end(b"/tmp/x\0", 0);
    for arch in [Arch::native(), Arch::X86] {
        assert_eq!(own(arch).path(at).unwrap().as_bytes(), b"/tmp/x");
    }
}

#[test]
fn a_string_may_cross_pages_but_not_into_one_that_is_not_there() {
    let pages = Pages::new(2);
    let mut long = vec![b'a'; pages.page + 10];
    long.push(0);
    let at = pages.write_before_end(&long, 5);
    assert_eq!(own(Arch::native()).c_string(at, 2 * pages.page).unwrap().as_bytes_with_nul(), long);

    let at = pages.write_before_end(b"unterminated", 0);
    let failed = own(Arch::native()).path(at).unwrap_err();
    assert_eq!(failed, ReadError::Fault { address: pages.address(2 * pages.page) });
    assert_eq!(failed.errno(), Errno::FAULT);
}

#[test]
fn a_path_has_at_most_4095_bytes_and_a_nul() {
    let pages = Pages::new(3);
    let mut path = vec![b'/'; PATH_MAX - 1];
    path.push(0);
    for before_end in [0, 1, 100] {
        let at = pages.write_before_end(&path, before_end);
        assert_eq!(own(Arch::native()).path(at).unwrap().as_bytes().len(), PATH_MAX - 1);
    }
    path[PATH_MAX - 1] = b'/';
    path.push(0);
    let at = pages.write_before_end(&path, 0);
    assert_eq!(own(Arch::native()).path(at).unwrap_err().errno(), Errno::NAMETOOLONG);
    // The kernel says so too where the first byte too many is one that cannot be read.
    let at = pages.write_before_end(&path[..PATH_MAX], 0);
    assert_eq!(own(Arch::native()).path(at).unwrap_err().errno(), Errno::NAMETOOLONG);
}

#[test]
fn addresses_that_are_nobodys_are_faults() {
    let pages = Pages::new(1);
    for address in [0, 1, KERNEL_ADDRESS, u64::MAX, u64::MAX - 100, pages.address(pages.readable)] {
        for arch in [Arch::native(), Arch::X86] {
            let memory = own(arch);
            assert_eq!(memory.path(address).unwrap_err().errno(), Errno::FAULT, "{address:#x}");
            assert_eq!(memory.bytes(address, 8).unwrap_err().errno(), Errno::FAULT, "{address:#x}");
            assert_eq!(memory.io_vectors(address, 2).unwrap_err().errno(), Errno::FAULT, "{address:#x}");
        }
    }
    assert_eq!(own(Arch::native()).optional_c_string(0, 10), Ok(None));
    assert_eq!(own(Arch::native()).bytes(0, 0), Ok(Vec::new()));
}

#[test]
fn bytes_are_copied_whole_or_not_at_all() {
    let pages = Pages::new(MAX_BYTES.div_ceil(4096));
    let content: Vec<u8> = (0..=u8::MAX).cycle().take(MAX_BYTES).collect();
    let at = pages.write_before_end(&content, 0);
    assert_eq!(own(Arch::native()).bytes(at, MAX_BYTES).unwrap(), content);
    assert_eq!(own(Arch::native()).bytes(at + 1, MAX_BYTES).unwrap_err().errno(), Errno::FAULT);
    assert_eq!(own(Arch::native()).bytes(at, MAX_BYTES + 1).unwrap_err().errno(), Errno::TOOBIG);
}

#[test]
fn a_32_bit_program_has_narrow_vectors_and_argument_lists() {
    let pages = Pages::new(1);
    let word = pages.write_before_end(b"word\0", 100);
    let narrow = u32::try_from(word).unwrap().to_ne_bytes();
    let list = pages.write_before_end(&[narrow, narrow, [0; 4]].concat(), 0);
    assert_eq!(own(Arch::X86).c_strings(list).unwrap(), [c"word", c"word"].map(CStr::to_owned));

    let vectors = pages.write_before_end(&[narrow, 4_u32.to_ne_bytes()].concat(), 0);
    assert_eq!(own(Arch::X86).io_vectors(vectors, 1).unwrap(), [IoVector { base: word, len: 4 }]);
    assert_eq!(own(Arch::X86_64).io_vectors(vectors, 1).unwrap_err().errno(), Errno::FAULT);

    let wide = pages.write_before_end(&[word.to_ne_bytes(), 0_u64.to_ne_bytes()].concat(), 0);
    assert_eq!(own(Arch::X86_64).c_strings(wide).unwrap(), [c"word".to_owned()]);
}

/// A program that may not be read by its own user, and so is not dumpable, with its first mapped address.
fn undumpable() -> (Child, tempfile::TempDir, u64) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let program = folder.path().join("sleep");
    copy_program("/bin/sleep", &program);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o111)).unwrap();
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(65534);
    }
    let child = command.arg("60").spawn().unwrap();
    let first = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).ok()?;
        let line = maps.lines().find(|line| line.ends_with("/sleep"))?.to_owned();
        u64::from_str_radix(line.split('-').next()?, 16).ok()
    };
    if rustix::process::geteuid().is_root() {
        let address = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            first()
        });
        return (child, folder, address.unwrap());
    }
    (child, folder, 0x1000)
}

#[test]
fn a_program_that_is_not_dumpable_is_read_with_cap_sys_ptrace_only() {
    let (mut child, _folder, address) = undumpable();
    let memory = Memory::of(child.id(), Arch::native());
    if rustix::process::geteuid().is_root() {
        assert_eq!(memory.bytes(address, 4).unwrap(), b"\x7fELF");
    }
    let without = std::thread::spawn(move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::SYS_PTRACE);
        set_capabilities(None, sets).unwrap();
        memory.bytes(address, 4)
    });
    let denied = without.join().unwrap().unwrap_err();
    assert_eq!(denied, ReadError::Denied { tid: child.id() });
    assert_eq!(denied.errno(), Errno::PERM);

    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(memory.bytes(address, 4), Err(ReadError::Gone { tid: child.id() }));
}

#[test]
fn a_caller_outside_our_pid_namespace_is_gone_and_not_ourselves() {
    let text = c"mine";
    let memory = Memory::of(0, Arch::native());
    assert_eq!(memory.path(text.as_ptr() as u64), Err(ReadError::Gone { tid: 0 }));
}

/// Copies a program. Not by this process: what it has open for writing while another test forks cannot be executed.
fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
