//! Files of the host, opened so that they can be handed to a container. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use seccomp_agent_nsenter::{Error, open_host_file};

fn open(path: &Path, flags: OFlags, read_only: bool) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    open_host_file(&path, flags, read_only).map_err(Error::errno)
}

#[test]
fn a_read_only_file_stays_so_when_it_is_opened_again() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "content").unwrap();
    for (read_only, expected) in [(true, Err(Errno::ROFS)), (false, Ok(()))] {
        let opened = open(&file, OFlags::RDONLY, read_only).unwrap();
        let again = openat(
            CWD,
            format!("/proc/thread-self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened)),
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        );
        assert_eq!(again.map(drop), expected);
        assert_eq!(open(&file, OFlags::WRONLY, read_only).map(drop), expected);
    }
}

#[test]
fn there_is_no_way_up_from_a_directory() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("outside"), "").unwrap();
    let opened = open(&folder.path().join("in"), OFlags::DIRECTORY, false).unwrap();
    for path in ["../outside", "../../etc", "../../../../tmp"] {
        let up = openat(&opened, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        assert_eq!(up.map(drop), Err(Errno::NOENT), "{path}");
    }
    assert!(openat(&opened, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok());
}

#[test]
fn links_that_a_container_may_have_put_there_are_not_followed() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("folder")).unwrap();
    for path in ["link", "folder/hostname"] {
        assert_eq!(open(&folder.path().join(path), OFlags::RDONLY, true).map(drop), Err(Errno::LOOP));
    }
}

#[test]
fn nothing_is_created() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let missing = folder.path().join("missing");
    let flags = OFlags::CREATE | OFlags::WRONLY;
    assert_eq!(open(&missing, flags, false).map(drop), Err(Errno::NOENT));
    assert!(!missing.exists());
}
