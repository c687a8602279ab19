//! The four calls that change a file's mode.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{AtFlags, CWD, Mode};

/// One of the calls.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Way {
    /// `chmod(2)`; on architectures without it what the C library makes of it.
    Chmod,
    /// `fchmod(2)`.
    Fchmod,
    /// `fchmodat(2)`.
    Fchmodat,
    /// `fchmodat2(2)`, Linux 6.6.
    Fchmodat2,
}

/// Prints a line for each way: its name and what it returned.
pub(crate) fn report(ways: &[Way], path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    for way in ways {
        let (called, outcome) = match way {
            Way::Chmod => ("chmod", std::fs::set_permissions(path, PermissionsExt::from_mode(0o777))),
            Way::Fchmod => ("fchmod", file.set_permissions(PermissionsExt::from_mode(0o777))),
            Way::Fchmodat => (
                "fchmodat",
                rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o777), AtFlags::empty())
                    .map_err(io::Error::from),
            ),
            Way::Fchmodat2 => ("fchmodat2", fchmodat2(&name, 0o777)),
        };
        match outcome {
            Ok(()) => println!("{called}: ok"),
            Err(error) => println!("{called}: {error}"),
        }
    }
    Ok(())
}

/// `fchmodat2(2)` below the current directory, without flags.
fn fchmodat2(path: &CString, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: `path` is a C string, alive for the call, that the kernel reads only; the other arguments are
    // plain numbers.
    let outcome = unsafe { libc::syscall(libc::SYS_fchmodat2, libc::AT_FDCWD, path.as_ptr(), mode, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
