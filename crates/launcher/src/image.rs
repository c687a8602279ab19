use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// A sealed copy of this program, for the container's init to be: a container that gets hold of its init's
/// `/proc/1/exe` has something that it cannot write to, and not the program on the host's disk
/// (CVE-2019-5736). Made once.
pub(crate) fn of_this_program() -> io::Result<BorrowedFd<'static>> {
    static IMAGE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image.as_fd());
    }
    let image = copy()?;
    Ok(IMAGE.get_or_init(|| image).as_fd())
}

fn copy() -> io::Result<OwnedFd> {
    let mut program = File::open("/proc/self/exe")?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let image = match memfd_create("seccomp-agent-init", flags | MemfdFlags::EXEC) {
        // Linux 6.3 knows the flag; before, every memfd is executable.
        Err(Errno::INVAL) => memfd_create("seccomp-agent-init", flags)?,
        other => other?,
    };
    let mut image = File::from(image);
    io::copy(&mut program, &mut image)?;
    fcntl_add_seals(&image, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(image.into())
}
