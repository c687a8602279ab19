//! From a caller's path to a descriptor, never by a link of the agent's.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, Stat, fstat, fstatfs, fstatvfs, openat2,
    readlinkat_raw,
};
use rustix::io::Errno;

use crate::caller::Base;
use crate::scene::Scene;

/// How many links one path may follow (`MAXSYMLINKS` of the kernel).
const MAX_LINKS: usize = 40;

/// The longest path and the longest name (`limits.h`).
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// The inode number of every procfs's root.
const PROC_ROOT_INO: u64 = 1;

/// `ST_NOSYMFOLLOW` of `statfs(2)`.
const NO_SYMLINKS_HERE: u64 = 0x2000;

/// Opens what `path` leads to, as `O_PATH`; `flags` may have `DIRECTORY` and `NOFOLLOW`.
///
/// The kernel walks it, but refuses magic links. Only when it meets one, or finds nothing or nothing of use
/// (`/proc/self` of the caller's procfs does not exist for us, or is ours) or an entry of procfs, the path is
/// walked again one component at a time: what is the caller's own leads to what it means for the caller.
pub(crate) fn walk(scene: &Scene<'_>, base: &Base, path: &CStr, flags: OFlags) -> Result<Found, Errno> {
    match open(base.of(scene.caller()), path, flags).and_then(Found::new) {
        Ok(found) if !found.in_procfs => Ok(found),
        Ok(_) | Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR) if !path.is_empty() => {
            walk_slowly(scene, base, path, flags).and_then(Found::new)
        }
        refused => refused,
    }
}

/// What a path leads to.
pub(crate) struct Found {
    pub(crate) file: OwnedFd,
    pub(crate) in_procfs: bool,
}

impl Found {
    fn new(file: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { in_procfs: is_procfs(&file)?, file })
    }
}

/// Whether something lies in a procfs.
pub(crate) fn is_procfs(fd: impl AsFd) -> Result<bool, Errno> {
    match fstatfs(fd) {
        Ok(stat) => Ok(stat.f_type == PROC_SUPER_MAGIC),
        // One of FUSE whose program has ended: it can still be unmounted.
        Err(Errno::NOTCONN) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Whether the caller may look for names in a directory of procfs. The kernel would let an acting thread into
/// the descriptors of its own process, whoever it acts as.
pub(crate) fn may_search(scene: &Scene<'_>, directory: &Stat) -> Result<(), Errno> {
    let is_open = directory.st_mode & 0o001 != 0;
    let is_owner = scene.actor().fsuid.is_some_and(|user| user.as_raw() == directory.st_uid);
    if is_open || is_owner { Ok(()) } else { Err(Errno::ACCESS) }
}

fn open(at: BorrowedFd<'_>, path: impl rustix::path::Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(at, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

fn walk_slowly(scene: &Scene<'_>, base: &Base, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let here = open(base.of(scene.caller()), c".", OFlags::DIRECTORY)?;
    let mut walk = Walk { scene, here, pending: Pending::new(path.to_bytes())?, links: 0, flags };
    while walk.step()? {}
    let end = walk.here;
    let must_be_directory = flags.contains(OFlags::DIRECTORY) || walk.pending.ends_in_slash();
    if must_be_directory && file_type(&end)? != FileType::Directory { Err(Errno::NOTDIR) } else { Ok(end) }
}

/// A path that is walked one component at a time.
struct Walk<'a> {
    scene: &'a Scene<'a>,
    /// Where the walk has come to.
    here: OwnedFd,
    pending: Pending,
    links: usize,
    flags: OFlags,
}

impl Walk<'_> {
    /// Takes the next component, if there is one.
    fn step(&mut self) -> Result<bool, Errno> {
        if self.pending.take_root() {
            self.here = open(CWD, c"/", OFlags::DIRECTORY)?;
        }
        let Some(name) = self.pending.first() else { return Ok(false) };
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let in_procfs = if is_procfs(&self.here)? { Some(fstat(&self.here)?) } else { None };
        let in_proc_root = in_procfs.as_ref().is_some_and(|stat| stat.st_ino == PROC_ROOT_INO);
        if in_proc_root && self.step_in_proc_root()? {
            return Ok(true);
        }
        let name = self.pending.first().unwrap_or_default();
        if let Some(stat) = in_procfs {
            may_search(self.scene, &stat)?;
            // Open by its mode, but not to those who may not trace the process.
            if name == b"fdinfo" && !self.pending.is_last() {
                return Err(Errno::ACCESS);
            }
        }
        let found = open(self.here.as_fd(), name, OFlags::NOFOLLOW)?;
        if file_type(&found)? != FileType::Symlink || self.is_at_unfollowed_end() {
            self.pending.skip(name.len());
            self.here = found;
            return Ok(true);
        }
        // The kernel decides whether this link may be followed at all.
        match open(self.here.as_fd(), name, OFlags::empty()) {
            // An entry of procfs may be the acting thread's own: `self` is an ordinary link.
            Ok(followed) if !is_procfs(&followed)? => {
                self.pending.skip(name.len());
                self.here = followed;
                self.count_link().map(|()| true)
            }
            // Somebody else's magic link: what the kernel says to those who may not trace them.
            Err(Errno::LOOP) if !in_proc_root && is_procfs(&found)? => Err(Errno::ACCESS),
            Ok(_) | Err(Errno::LOOP | Errno::NOENT) => self.step_into(&found).map(|()| true),
            Err(other) => Err(other),
        }
    }

    /// In the root of a procfs: follows what is the caller's own, if the next components are.
    fn step_in_proc_root(&mut self) -> Result<bool, Errno> {
        let names = self.scene.caller().names();
        if let Some(own) = names.own_link(self.pending.rest()) {
            let is_end = own.len == self.pending.rest().len();
            if !(is_end && self.flags.contains(OFlags::NOFOLLOW)) {
                let (target, len) = (self.scene.open_own(own)?, own.len);
                self.count_link()?;
                self.pending.skip(len);
                self.here = target;
                return Ok(true);
            }
        }
        let name = self.pending.first().unwrap_or_default();
        let content = match name {
            _ if self.is_at_unfollowed_end() => return Ok(false),
            b"self" => &names.process,
            b"thread-self" => &names.thread,
            _ => return Ok(false),
        };
        let len = name.len();
        self.count_link()?;
        self.pending.replace_first(len, content.as_bytes())?;
        Ok(true)
    }

    /// Walks on along the content of a link that the kernel does not follow for us as it does for the caller.
    fn step_into(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.count_link()?;
        if fstatvfs(link)?.f_flag.bits() & NO_SYMLINKS_HERE != 0 {
            return Err(Errno::LOOP);
        }
        let mut content = [0; PATH_MAX];
        let len = readlinkat_raw(link, c"", &mut content[..])?;
        if len == 0 {
            return Err(Errno::NOENT);
        }
        let name = self.pending.first().unwrap_or_default();
        self.pending.replace_first(name.len(), &content[..len])
    }

    /// Whether the next component is the last, and not to be followed.
    fn is_at_unfollowed_end(&self) -> bool {
        self.flags.contains(OFlags::NOFOLLOW) && self.pending.is_last()
    }

    fn count_link(&mut self) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS { Err(Errno::LOOP) } else { Ok(()) }
    }
}

fn file_type(fd: impl AsFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

/// What is still to be walked: at the end of a buffer, so that a link's content can be put in front. On the
/// stack: an acting thread allocates nothing.
struct Pending {
    buffer: [u8; 2 * PATH_MAX],
    start: usize,
}

impl Pending {
    fn new(path: &[u8]) -> Result<Self, Errno> {
        let mut pending = Self { buffer: [0; 2 * PATH_MAX], start: 2 * PATH_MAX };
        pending.put_in_front(path)?;
        Ok(pending)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether it begins at the root; if so, takes the slashes that say so.
    fn take_root(&mut self) -> bool {
        let slashes = self.rest().iter().take_while(|byte| **byte == b'/').count();
        self.start += slashes;
        slashes > 0
    }

    /// The first component.
    fn first(&self) -> Option<&[u8]> {
        self.rest().split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// Whether the first component is all there is, with no slash behind it.
    fn is_last(&self) -> bool {
        !self.rest().contains(&b'/')
    }

    /// Whether the path ended in a slash.
    fn ends_in_slash(&self) -> bool {
        self.buffer.last() == Some(&b'/')
    }

    /// Takes `len` bytes, whole components, and the slashes behind them.
    fn skip(&mut self, len: usize) {
        self.start = (self.start + len).min(self.buffer.len());
        self.take_root();
    }

    /// Puts a link's content in the place of the first component, which has `len` bytes. The slashes behind it
    /// stay: they part the content from what follows.
    fn replace_first(&mut self, len: usize, content: &[u8]) -> Result<(), Errno> {
        self.start = (self.start + len).min(self.buffer.len());
        self.put_in_front(content)
    }

    fn put_in_front(&mut self, path: &[u8]) -> Result<(), Errno> {
        self.start = self.start.checked_sub(path.len()).ok_or(Errno::NAMETOOLONG)?;
        self.buffer[self.start..self.start + path.len()].copy_from_slice(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_component_by_component() {
        let mut pending = Pending::new(b"//a//link/c/").unwrap();
        assert!(pending.take_root() && !pending.take_root());
        assert_eq!(pending.first(), Some(&b"a"[..]));
        pending.skip(1);
        assert_eq!(pending.first(), Some(&b"link"[..]));
        pending.replace_first(4, b"/x/y").unwrap();
        assert!(pending.take_root());
        assert_eq!(pending.rest(), b"x/y/c/");
        pending.skip(3);
        assert_eq!((pending.rest(), pending.is_last(), pending.ends_in_slash()), (&b"c/"[..], false, true));
        pending.skip(1);
        assert_eq!(pending.first(), None);
    }

    #[test]
    fn links_that_grow_a_path_without_end_are_refused() {
        let mut pending = Pending::new(&[b'a'; PATH_MAX]).unwrap();
        pending.replace_first(1, &[b'b'; PATH_MAX]).unwrap();
        assert_eq!(pending.replace_first(1, b"bbb"), Err(Errno::NAMETOOLONG));
    }
}
