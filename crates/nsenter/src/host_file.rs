use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::change::own_link;
use crate::error::Error;
use crate::home::Home;
use crate::raw;

/// Flags of an `open` that mean the same for a file that exists and is already found. What creates, what takes
/// the terminal, and what sends signals is not among them.
const PASSED_ON: OFlags = OFlags::ACCMODE
    .union(OFlags::APPEND)
    .union(OFlags::TRUNC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::DIRECTORY)
    .union(OFlags::DSYNC)
    .union(OFlags::SYNC)
    .union(OFlags::DIRECT)
    .union(OFlags::PATH);

/// Opens a file, device or directory of the **host** so that it can be handed to a container. The thread must be
/// itself, not acting.
///
/// What is opened lies in a mount of its own that nobody else sees: there is no way up from a directory, and a
/// read-only file cannot be opened again for writing through `/proc/self/fd` (Linux 5.12; ENOSYS before).
/// Devices are no part of that: a read-only mount lets them be written to. No component of `path` may be a
/// symbolic link (ELOOP), since a container may own one of the directories.
pub fn open_host_file(path: &CStr, flags: OFlags, read_only: bool) -> Result<OwnedFd, Error> {
    let home = Home::of_this_thread()?;
    let found = openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&found, c"", clone)?;
    if read_only {
        raw::make_read_only(mount.as_fd())?;
    }
    let flags = flags & PASSED_ON | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(openat(&home.proc, own_link(mount.as_fd()).as_c_str(), flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::io::Errno;

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
}
