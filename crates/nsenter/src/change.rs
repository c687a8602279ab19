//! Changes to a file that is held by an `O_PATH` descriptor, where the kernel has no call for that, or only a
//! recent one.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags, chmodat, openat, removexattr, setxattr};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::process::fchdir;

use crate::raw;
use crate::scene::Scene;

impl Scene<'_> {
    /// Changes the mode of what `file` holds (`fchmodat2(2)`, Linux 6.6, or `chmod(2)` before).
    pub fn change_mode(&self, file: impl AsFd, mode: Mode) -> Result<(), Errno> {
        match raw::change_mode(file.as_fd(), mode) {
            Err(Errno::NOSYS) => self.change_mode_by_link(file.as_fd(), mode),
            done => done,
        }
    }

    /// Sets an extended attribute of what `file` holds (`setxattr(2)`).
    pub fn set_attribute(
        &self,
        file: impl AsFd,
        name: &CStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        self.by_link(file.as_fd(), |link| setxattr(link, name, value, flags))
    }

    /// Removes an extended attribute of what `file` holds (`removexattr(2)`).
    pub fn remove_attribute(&self, file: impl AsFd, name: &CStr) -> Result<(), Errno> {
        self.by_link(file.as_fd(), |link| removexattr(link, name))
    }

    fn change_mode_by_link(&self, file: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
        chmodat(self.caller().home().proc.as_fd(), own_link(file).as_c_str(), mode, AtFlags::empty())
    }

    /// Runs `change` on a path that leads to `file`: the link in our own procfs of a descriptor that is our
    /// own. The calls take no directory, and their newer forms no `O_PATH` descriptor, so the working directory
    /// is procfs for as long as `change` takes.
    pub(crate) fn by_link<T>(
        &self,
        file: BorrowedFd<'_>,
        change: impl FnOnce(&CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let link = own_link(file);
        self.in_directory(&self.caller().home().proc, || change(link.as_c_str()))
    }

    /// Runs `work` where the working directory has our own descriptors by their numbers (`/proc/thread-self/fd`): for
    /// calls that take a directory by its path only, and not even a long one.
    pub fn among_descriptors<T>(&self, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = openat(&self.caller().home().proc, c"thread-self/fd", path, Mode::empty())?;
        self.in_directory(&descriptors, work)
    }

    fn in_directory<T>(
        &self,
        directory: &OwnedFd,
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        fchdir(directory)?;
        let outcome = work();
        // The caller may be one whose root is closed to it.
        if self.with_own_capabilities(|| fchdir(self.caller().root())).is_err() {
            // A relative path could begin in our procfs, and leave it.
            raw::end_thread();
        }
        outcome
    }
}

/// `thread-self/fd/N`, on the stack: an acting thread allocates nothing.
pub(crate) struct Link([u8; 32]);

pub(crate) fn own_link(file: BorrowedFd<'_>) -> Link {
    const FOLDER: &[u8] = b"thread-self/fd/";
    let mut link = Link([0; 32]);
    let number = DecInt::from_fd(file);
    let number = number.as_bytes();
    link.0[..FOLDER.len()].copy_from_slice(FOLDER);
    link.0[FOLDER.len()..FOLDER.len() + number.len()].copy_from_slice(number);
    link
}

impl Link {
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{CWD, OFlags, lgetxattr, openat};

    use crate::caller::Caller;

    #[test]
    fn what_a_descriptor_holds_is_changed_and_nothing_behind_it() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        // As ourselves: neither takes a privilege.
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let caller = Caller::open(tid).unwrap();
        let scene = caller.scene_of_this_thread();
        let path = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let held = openat(CWD, &file, path, Mode::empty()).unwrap();
        let held_link = openat(CWD, &link, path, Mode::empty()).unwrap();

        // As on kernels that lack the newer call.
        scene.change_mode_by_link(held.as_fd(), Mode::from_raw_mode(0o751)).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o751);
        let of_link = scene.change_mode_by_link(held_link.as_fd(), Mode::RWXU).unwrap_err();
        assert_eq!(Err(of_link), scene.change_mode(&held_link, Mode::RWXU));

        let name = c"user.seccomp-agent";
        scene.set_attribute(&held, name, b"1", XattrFlags::CREATE).unwrap();
        assert_eq!(lgetxattr(&file, name, &mut [0_u8; 8][..]), Ok(1));
        assert_eq!(scene.set_attribute(&held_link, name, b"1", XattrFlags::CREATE), Err(Errno::PERM));
        scene.remove_attribute(&held, name).unwrap();
        assert_eq!(scene.remove_attribute(&held, name), Err(Errno::NODATA));
        assert_eq!(rustix::process::getcwd(Vec::new()).unwrap().as_c_str(), c"/");
    }
}
