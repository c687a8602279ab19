use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::pipe::{PipeFlags, pipe_with};
use seccomp_agent_nsenter::Mounted;
use seccomp_agent_registry::Errno;

use crate::mount::file_system::FileSystem;
use crate::mount::ours::Made;

/// The contexts and the detached mounts that a container has of us.
#[derive(Default)]
pub(super) struct Table(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    contexts: Vec<Arc<Context>>,
    mounts: Vec<Arc<DetachedMount>>,
}

/// How many contexts a container has at a time. Each is kernel memory that counts as the agent's; a program that
/// mounts has one.
const MAX_CONTEXTS: usize = 16;

/// How many detached mounts of a container are known at a time; of more, the oldest is given up. Each keeps a file
/// system in memory; a program that mounts has one.
const MAX_DETACHED: usize = 16;

/// A file system context of ours, and what stands for it.
pub(super) struct Context {
    /// The context.
    pub(super) file: OwnedFd,
    /// What it is of.
    pub(super) of: Of,
    /// The mount namespace that it is for.
    pub(super) namespace: (u64, u64),
    /// The end of a pipe, of which the caller has the other, the handle. It hangs up when nobody has that any more.
    end: OwnedFd,
    /// What handle and end have in common.
    file_id: FileId,
}

/// What a context is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Of {
    pub(super) kind: FileSystem,
    /// Whether it is of a procfs that has processes only.
    pub(super) is_processes_only: bool,
    /// Whether it is of a file system that is there already, to change it.
    pub(super) is_picked: bool,
}

/// A mount that is attached nowhere, whose root is open in the caller as well.
pub(super) struct DetachedMount {
    /// The mount.
    pub(super) file: OwnedFd,
    /// What it is, and has to stay.
    pub(super) made: Made,
    /// The mount namespace that it is for.
    pub(super) namespace: (u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: (u32, u32),
    inode: u64,
}

impl Table {
    /// Keeps a context, and returns the handle of it. ENFILE if there are too many.
    pub(super) fn insert_context(
        &self,
        file: OwnedFd,
        of: Of,
        namespace: (u64, u64),
    ) -> Result<OwnedFd, Errno> {
        let (end, handle) = pipe_with(PipeFlags::CLOEXEC)?;
        let context = Context { file, of, namespace, file_id: FileId::of(&end)?, end };
        let given_up: Vec<_> =
            self.entries().contexts.extract_if(.., |context| context.is_given_up()).collect();
        // File systems go with them, maybe: not under the lock.
        drop(given_up);
        let mut entries = self.entries();
        if entries.contexts.len() >= MAX_CONTEXTS {
            return Err(Errno::NFILE);
        }
        entries.contexts.push(Arc::new(context));
        Ok(handle)
    }

    /// The context that this is a handle of.
    pub(super) fn context(&self, handle: impl AsFd) -> Option<Arc<Context>> {
        let file_id = FileId::of(handle).ok()?;
        self.entries().contexts.iter().find(|context| context.file_id == file_id).map(Arc::clone)
    }

    /// Keeps a detached mount.
    pub(super) fn insert_mount(
        &self,
        file: OwnedFd,
        made: Made,
        namespace: (u64, u64),
    ) -> Result<Arc<DetachedMount>, Errno> {
        // Nobody else has the number while the mount is open.
        let made = Made { id: Mounted::of(&file)?.mount, ..made };
        let mount = Arc::new(DetachedMount { file, made, namespace });
        let oldest = {
            let mounts = &mut self.entries().mounts;
            mounts.push(Arc::clone(&mount));
            (mounts.len() > MAX_DETACHED).then(|| mounts.remove(0))
        };
        // Nor is this.
        drop(oldest);
        Ok(mount)
    }

    /// The detached mount whose root this is.
    pub(super) fn mount(&self, root: impl AsFd) -> Option<Arc<DetachedMount>> {
        let root = Mounted::of(root).ok()?;
        self.entries().mounts.iter().find(|mount| mount.made.is(root)).map(Arc::clone)
    }

    /// Takes out what [`mount`](Self::mount) has found, unless somebody else has.
    pub(super) fn take_mount(&self, mount: &Arc<DetachedMount>) -> bool {
        let mounts = &mut self.entries().mounts;
        let position = mounts.iter().position(|other| Arc::ptr_eq(other, mount));
        position.map(|position| mounts.remove(position)).is_some()
    }

    /// Puts it back: it is still detached.
    pub(super) fn put_back(&self, mount: Arc<DetachedMount>) {
        self.entries().mounts.push(mount);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    fn is_given_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.end, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}

impl FileId {
    fn of(file: impl AsFd) -> Result<Self, Errno> {
        // No file system of the container's is to be waited for.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", flags, StatxFlags::INO)?;
        Ok(Self { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};

    const OF: Of = Of { kind: FileSystem::Proc, is_processes_only: false, is_picked: false };

    fn some_file() -> OwnedFd {
        open(c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_context_is_found_by_its_handle_and_duplicates_of_it() {
        let table = Table::default();
        let handles: Vec<_> =
            (0..2).map(|_| table.insert_context(some_file(), OF, (0, 0)).unwrap()).collect();
        let found: Vec<_> = handles.iter().map(|handle| table.context(handle).unwrap()).collect();
        assert!(!Arc::ptr_eq(&found[0], &found[1]));
        let again = rustix::io::fcntl_dupfd_cloexec(&handles[1], 0).unwrap();
        assert!(Arc::ptr_eq(&table.context(again).unwrap(), &found[1]));
        assert!(table.context(some_file()).is_none());
    }

    #[test]
    fn only_contexts_that_somebody_has_a_handle_of_count() {
        let table = Table::default();
        let handles: Vec<_> =
            (0..MAX_CONTEXTS).map(|_| table.insert_context(some_file(), OF, (0, 0)).unwrap()).collect();
        assert_eq!(table.insert_context(some_file(), OF, (0, 0)).unwrap_err(), Errno::NFILE);
        drop(handles);
        for _ in 0..MAX_CONTEXTS * 2 {
            table.insert_context(some_file(), OF, (0, 0)).unwrap();
        }
    }
}
