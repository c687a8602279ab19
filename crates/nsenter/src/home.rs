//! The state that belongs to the acting thread itself, and the way back to it.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Once;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat_raw};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::process::{chroot, fchdir, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups};

use crate::error::Error;
use crate::namespaces::NamespaceKind;
use crate::process::is_process;
use crate::raw;
use crate::status::{Credentials, MAX_STATUS, Status};

/// What a thread is when it acts for nobody.
#[derive(Debug)]
pub(crate) struct Home {
    /// The procfs of our own pid namespace, to find callers in.
    pub(crate) proc: OwnedFd,
    pub(crate) user_namespace: NamespaceId,
    /// What we may do at most.
    pub(crate) capabilities: CapabilitySets,
    root: OwnedFd,
    cwd: OwnedFd,
    credentials: Credentials,
    /// Of each kind.
    namespaces: [OwnedFd; NamespaceKind::ALL.len()],
    /// The task that called last: most call again.
    last: RefCell<Option<Rc<Task>>>,
}

/// A task, as far as it stays the same from call to call. Whatever is looked up here is this task's, or nobody's:
/// procfs never shows another one behind what has been opened, whoever gets the number.
#[derive(Debug)]
pub(crate) struct Task {
    tid: u32,
    /// Its directory in our procfs.
    pub(crate) proc: OwnedFd,
    status: OwnedFd,
    /// The directory of its process, once it has been asked for. A task stays in its process.
    process: OnceCell<Rc<OwnedFd>>,
}

impl Task {
    /// What its status says now.
    pub(crate) fn status(&self) -> Result<Vec<u8>, Errno> {
        read_whole(&self.status)
    }
}

/// A namespace's identity: what its link says (`namespaces(7)`), which is cheaper to have than its file.
pub(crate) type NamespaceId = [u8; 32];

/// How far a thread is from home: what has to be put back.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Distance {
    away: bool,
    groups: bool,
    file_system_ids: bool,
    /// The bit of each kind that has been left.
    namespaces: u8,
}

thread_local! {
    static HOME: OnceCell<Rc<Home>> = const { OnceCell::new() };
    static DISTANCE: Cell<Distance> = const {
        Cell::new(Distance {
            away: false,
            groups: false,
            file_system_ids: false,
            namespaces: 0,
        })
    };
}

impl Home {
    /// The home of the calling thread, found out on first use. From then on the thread has its root, directory
    /// and umask for itself.
    pub(crate) fn of_this_thread() -> Result<Rc<Self>, Error> {
        HOME.with(|home| {
            if let Some(home) = home.get() {
                return Ok(Rc::clone(home));
            }
            let prepared = Self::prepare()?;
            Ok(Rc::clone(home.get_or_init(|| Rc::new(prepared))))
        })
    }

    fn prepare() -> Result<Self, Error> {
        restore_before_panics_are_reported();
        let failed = |step| move |source| Error::Prepare { step, source };
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = |name: &'static str| openat(CWD, name, path, Mode::empty()).map_err(failed(name));
        let proc = folder("/proc")?;
        let namespace = |name: &'static str| {
            openat(&proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed(name))
        };
        unshare(CloneFlags::CLONE_FS).map_err(|errno| failed("unshare(CLONE_FS)")(from_nix(errno)))?;
        let status =
            read_status(proc.as_fd(), "thread-self/status").map_err(failed("/proc/thread-self/status"))?;
        Ok(Self {
            user_namespace: namespace_id(proc.as_fd(), "thread-self/ns/user").map_err(failed("ns/user"))?,
            namespaces: [
                namespace("thread-self/ns/mnt")?,
                namespace("thread-self/ns/net")?,
                namespace("thread-self/ns/ipc")?,
                namespace("thread-self/ns/cgroup")?,
            ],
            root: folder("/")?,
            cwd: folder(".")?,
            credentials: Status::parse(&status)
                .map_err(|field| Error::Prepare { step: field, source: Errno::INVAL })?
                .credentials,
            capabilities: capabilities(None).map_err(failed("capget"))?,
            last: RefCell::new(None),
            proc,
        })
    }

    /// The task that called last, if it has this number. It may be gone.
    pub(crate) fn last_task(&self, tid: u32) -> Option<Rc<Task>> {
        self.last.borrow().as_ref().filter(|task| task.tid == tid).cloned()
    }

    /// Opens the task that has this number now.
    pub(crate) fn open_task(&self, tid: u32) -> Result<Rc<Task>, Errno> {
        let proc = self.folder_of(tid)?;
        let status = openat(&proc, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let task = Rc::new(Task { tid, proc, status, process: OnceCell::new() });
        self.last.replace(Some(Rc::clone(&task)));
        Ok(task)
    }

    /// The directory of a task's process.
    pub(crate) fn process(&self, task: &Task, tgid: u32) -> Result<Rc<OwnedFd>, Errno> {
        if let Some(process) = task.process.get() {
            return Ok(Rc::clone(process));
        }
        let opened = Rc::new(self.folder_of(tgid)?);
        Ok(Rc::clone(task.process.get_or_init(|| opened)))
    }

    /// A task's directory in our procfs.
    fn folder_of(&self, task: u32) -> Result<OwnedFd, Errno> {
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.proc, DecInt::new(task), path, Mode::empty())
    }

    /// Leaves: from here on the thread is between states, until the guard brings it home.
    pub(crate) fn leave(&self) -> Result<Away<'_>, Error> {
        // A thread that this one has started since shares its root again. It stays behind here.
        unshare(CloneFlags::CLONE_FS)
            .map_err(|errno| Error::Prepare { step: "unshare(CLONE_FS)", source: from_nix(errno) })?;
        DISTANCE.set(Distance { away: true, ..Distance::default() });
        Ok(Away { home: self })
    }

    /// Takes on a task's umask, groups, file-system ids and these capabilities, in the order that each step
    /// permits the next. What is the same as our own is left alone: each change of credentials is a copy of
    /// them, and most of the cost of acting.
    pub(crate) fn put_on(
        &self,
        credentials: &Credentials,
        capabilities: CapabilitySet,
    ) -> Result<(), (&'static str, Errno)> {
        let at = |step| move |errno| (step, errno);
        umask(credentials.umask);
        if credentials.groups != self.credentials.groups {
            // Noted only when done: in a user namespace that forbids it, going back would fail as well.
            set_thread_groups(&credentials.groups).map_err(at("setgroups"))?;
            DISTANCE.set(Distance { groups: true, ..DISTANCE.get() });
        }
        let ids = (credentials.fsuid, credentials.fsgid);
        if ids != (self.credentials.fsuid, self.credentials.fsgid) {
            DISTANCE.set(Distance { file_system_ids: true, ..DISTANCE.get() });
            raw::set_fsgid(ids.1).map_err(at("setfsgid"))?;
            raw::set_fsuid(ids.0).map_err(at("setfsuid"))?;
        }
        let mut sets = self.capabilities;
        sets.effective = capabilities & sets.permitted;
        set_capabilities(None, sets).map_err(at("capset"))
    }

    pub(crate) const fn namespace(&self, kind: NamespaceKind) -> &OwnedFd {
        &self.namespaces[kind as usize]
    }

    /// Everything back as it was, in the order that each step permits the next.
    fn restore(&self, distance: Distance) -> Result<(), Errno> {
        set_capabilities(None, self.capabilities)?;
        if distance.file_system_ids {
            raw::set_fsuid(self.credentials.fsuid)?;
            raw::set_fsgid(self.credentials.fsgid)?;
        }
        if distance.groups {
            set_thread_groups(&self.credentials.groups)?;
        }
        if distance.file_system_ids && self.capabilities.effective != self.capabilities.permitted {
            // A user id that becomes zero brings capabilities with it.
            set_capabilities(None, self.capabilities)?;
        }
        umask(self.credentials.umask);
        for kind in NamespaceKind::ALL {
            if distance.namespaces & bit(kind) != 0 {
                setns(self.namespace(kind), kind.flag()).map_err(from_nix)?;
            }
        }
        fchdir(&self.root)?;
        chroot(c".")?;
        fchdir(&self.cwd)
    }
}

/// A thread that is away from home. It goes back when this is dropped, and dies if it cannot.
pub(crate) struct Away<'a> {
    home: &'a Home,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        go_home(self.home);
    }
}

/// Joins a namespace until the thread goes home.
pub(crate) fn join(kind: NamespaceKind, namespace: impl AsFd) -> Result<(), Errno> {
    note_left(kind);
    setns(namespace, kind.flag()).map_err(from_nix)
}

/// Joins a mount namespace until the thread goes home. Root and directory become the namespace's root.
pub(crate) fn join_mount_namespace(namespace: impl AsFd) -> Result<(), Errno> {
    join(NamespaceKind::Mount, namespace)
}

/// Leaves for a copy of the mount namespace that the thread is in, until it goes home.
pub(crate) fn leave_mount_namespace() -> Result<(), Errno> {
    note_left(NamespaceKind::Mount);
    unshare(CloneFlags::CLONE_NEWNS).map_err(from_nix)
}

/// Notes it first: what has half happened is undone as well.
fn note_left(kind: NamespaceKind) {
    let distance = DISTANCE.get();
    debug_assert!(distance.away, "a namespace is left on the way home");
    DISTANCE.set(Distance { namespaces: distance.namespaces | bit(kind), ..distance });
}

const fn bit(kind: NamespaceKind) -> u8 {
    1 << kind as u8
}

fn go_home(home: &Home) {
    let distance = DISTANCE.get();
    if distance.away {
        if home.restore(distance).is_err() {
            raw::end_thread();
        }
        DISTANCE.set(Distance::default());
    }
}

/// A panic is reported before it unwinds: the report may look for debug information in files, and they must be
/// ours, not the container's. So the thread goes home first.
fn restore_before_panics_are_reported() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if is_process() {
                return;
            }
            // A thread whose locals are gone already acts for nobody.
            let _ = HOME.try_with(|home| home.get().map(|home| go_home(home)));
            report(panic);
        }));
    });
}

/// The identity of the namespace behind `path`.
pub(crate) fn namespace_id(directory: BorrowedFd<'_>, path: &str) -> Result<NamespaceId, Errno> {
    let mut identity = NamespaceId::default();
    readlinkat_raw(directory, path, &mut identity[..])?;
    Ok(identity)
}

/// The whole of a status file.
pub(crate) fn read_status(directory: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    read_whole(&openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The whole of a file of procfs as it is now, however often it has been read.
fn read_whole(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    /// Enough for all but tasks with hundreds of groups.
    const USUAL: usize = 4096;
    let mut content = Vec::with_capacity(USUAL);
    while content.len() < MAX_STATUS {
        let room = content.capacity() - content.len();
        let from = content.len() as u64;
        // The kernel writes all there is at once: less than there is room for is the end.
        if rustix::io::pread(file, rustix::buffer::spare_capacity(&mut content), from)? < room {
            return Ok(content);
        }
        content.reserve(content.len());
    }
    Err(Errno::TOOBIG)
}

pub(crate) fn from_nix(errno: nix::Error) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
