use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{chroot, fchdir};
use rustix::thread::CapabilitySet;

use crate::error::Error;
use crate::helper::Maps;
use crate::home::{Away, Home, Task, namespace_id, read_status};
use crate::keeper::{Keeper, Room};
use crate::mount::{MountNamespace, PidNamespace};
use crate::own::Names;
use crate::scene::{Actor, Scene};
use crate::status::{Credentials, Status, parse_flags};

/// A task that waits in a notified call, with everything of it that decides what a path means and what it may
/// do: opened and read once, to be acted on after the notification has proved to be still valid.
///
/// Belongs to the thread that opened it.
#[derive(Debug)]
pub struct Caller {
    tid: u32,
    home: Rc<Home>,
    task: Rc<Task>,
    /// The directory of its process, if that is another.
    process: Option<Rc<OwnedFd>>,
    names: Names,
    root: OwnedFd,
    cwd: OwnedFd,
    credentials: Credentials,
    means: Means,
}

/// How a caller is acted for.
#[derive(Debug)]
enum Means {
    /// By this thread: its capabilities count where ours do.
    Thread,
    /// By this thread, without any capability: it is in another user namespace, and nobody keeps helpers for it.
    Powerless,
    /// By the helper in its user namespace, if there may be one.
    Helper(Result<Arc<Room>, Error>),
}

impl Caller {
    /// Opens the caller with this thread id. On a thread's first use, the thread gets a root, a working
    /// directory and a umask for itself (`unshare(2)`, `CLONE_FS`) and notes its own state.
    ///
    /// A caller in another user namespace than ours is acted for without any capability.
    pub fn open(tid: u32) -> Result<Self, Error> {
        Self::open_with(tid, None)
    }

    /// [`open`](Self::open), where a caller in another user namespace than ours is acted for by a helper: a
    /// process in that namespace, which is kept on behalf of a `keeper`.
    pub fn open_kept(tid: u32, keeper: &Keeper) -> Result<Self, Error> {
        Self::open_with(tid, Some(keeper))
    }

    fn open_with(tid: u32, keeper: Option<&Keeper>) -> Result<Self, Error> {
        if tid == 0 {
            return Err(Error::Invisible);
        }
        let home = Home::of_this_thread()?;
        let failed = |entry| {
            move |errno| match errno {
                // A task that ends takes its directory along, piece by piece.
                Errno::NOENT | Errno::SRCH => Error::Gone,
                source => Error::Open { tid, entry, source },
            }
        };
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let last = home.last_task(tid).and_then(|task| task.status().ok().map(|status| (task, status)));
        let (task, status) = if let Some(last) = last {
            last
        } else {
            let task = home.open_task(tid).map_err(failed("the directory"))?;
            let status = task.status().map_err(failed("status"))?;
            (task, status)
        };
        let folder = |name: &'static str| openat(&task.proc, name, path, Mode::empty()).map_err(failed(name));
        let (root, cwd) = (folder("root")?, folder("cwd")?);
        let Status { tgid, names, credentials } = Status::parse(&status).map_err(|field| match field {
            // The kernel leaves it out of the status of a task that ends.
            "Umask" => Error::Gone,
            field => Error::Status { tid, field },
        })?;
        let process = if tgid == tid {
            None
        } else {
            Some(home.process(&task, tgid).map_err(failed("the directory"))?)
        };
        let user_namespace = namespace_id(task.proc.as_fd(), "ns/user").map_err(failed("ns/user"))?;
        let means = match keeper {
            _ if user_namespace == home.user_namespace => Means::Thread,
            None => Means::Powerless,
            Some(keeper) => {
                Means::Helper(keeper.room(user_namespace).map_err(|(step, source)| Error::NoHelper {
                    tid,
                    step,
                    source,
                }))
            }
        };
        Ok(Self { tid, home, task, process, names, root, cwd, credentials, means })
    }

    /// The thread id.
    pub const fn tid(&self) -> u32 {
        self.tid
    }

    /// Its credentials. Its capabilities are worth nothing to us unless it is in our user namespace.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether its capabilities count where ours do. A task that has created a user namespace has them all
    /// there, and none here.
    pub const fn is_in_our_user_namespace(&self) -> bool {
        matches!(self.means, Means::Thread)
    }

    /// Where `path` begins when it comes with the directory argument `dirfd`: at the root if it is absolute,
    /// at the working directory for `AT_FDCWD`, or at what the caller has open as `dirfd` (else EBADF).
    pub fn base(&self, dirfd: i32, path: &CStr) -> Result<Base, Error> {
        let starts_elsewhere = matches!(path.to_bytes().first(), None | Some(b'/'));
        if starts_elsewhere || dirfd == AT_FDCWD {
            return Ok(Base(None));
        }
        self.open_descriptor(dirfd).map(|fd| Base(Some(fd)))
    }

    /// The mount namespace it is in.
    pub fn mount_namespace(&self) -> Result<MountNamespace, Error> {
        let namespace = self.open_namespace("ns/mnt")?;
        Ok(MountNamespace::new(self.tid, Rc::clone(&self.home), namespace))
    }

    /// The pid namespace it is in.
    pub fn pid_namespace(&self) -> Result<PidNamespace, Error> {
        Ok(PidNamespace::new(self.open_namespace("ns/pid")?))
    }

    /// Asks `is_valid` whether the caller still waits, and if so runs `deed` **as the caller**: with its root,
    /// umask, file-system ids, supplementary groups and effective capabilities, and with those that `grant`
    /// adds. Paths of the [`Scene`] begin at its working directory. Then the thread is itself again. A panic of
    /// `deed` finds it so; one in a helper goes on here, without a report.
    ///
    /// Capabilities count in the user namespace they are held in. In another one than ours, the caller's own and
    /// the granted ones are those of **its** namespace, and `deed` runs in the [kept](Self::open_kept) helper
    /// there; without one it has none, granted or not.
    ///
    /// `deed` may make system calls through the [`Scene`] and through rustix, with descriptors that the scene
    /// resolved, and nothing else: no allocation, no logging, no name or locale look-up, no thread, no lock. Those
    /// would open the container's files as the agent; and a helper can be killed by its container at any moment.
    ///
    /// A thread that cannot come back **ends**: it writes one line to standard error and is gone, with
    /// everything it held; the call is never answered. It takes a lack of memory, or a `deed` that gave
    /// capabilities away, to get there.
    pub fn act<T>(
        &self,
        is_valid: impl FnOnce() -> bool,
        grant: CapabilitySet,
        deed: impl FnOnce(&Scene<'_>) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let own = self.credentials.effective | grant;
        match &self.means {
            Means::Thread => self.act_on_thread(is_valid, own, deed),
            Means::Powerless => self.act_on_thread(is_valid, CapabilitySet::empty(), deed),
            Means::Helper(room) => room.as_ref().map_err(|error| *error)?.act(self, is_valid, own, deed),
        }
    }

    /// [`act`](Self::act) in two steps, with a grant that is worth something in **our** user namespace only: for
    /// what the kernel lets nobody do in another one, such as making a device. `find` looks for what it is to be
    /// done to, with what the caller may do itself. `deed` does it with what is granted: for a caller in another
    /// user namespace with nothing else, on this thread, and as the caller's user, as ours numbers it.
    pub fn act_outside<P, T>(
        &self,
        is_valid: impl Fn() -> bool,
        grant: CapabilitySet,
        find: impl FnOnce(&Scene<'_>) -> Result<P, Errno>,
        deed: impl FnOnce(&Scene<'_>, P) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        if let Means::Thread = self.means {
            return self.act(is_valid, grant, |scene| deed(scene, find(scene)?));
        }
        let maps = Maps::of(self);
        let maps = maps.map_err(|(step, source)| Error::NoHelper { tid: self.tid, step, source })?;
        let found = self.act(&is_valid, CapabilitySet::empty(), find)?;
        self.act_on_thread(is_valid, grant, |scene| deed(&scene.with_maps(&maps), found))
    }

    fn act_on_thread<T>(
        &self,
        is_valid: impl FnOnce() -> bool,
        capabilities: CapabilitySet,
        deed: impl FnOnce(&Scene<'_>) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        if !is_valid() {
            return Err(Error::Gone);
        }
        let away = self.home.leave()?;
        self.put_on(capabilities).map_err(|(step, source)| Error::Become { tid: self.tid, step, source })?;
        let outcome = deed(&self.scene_of_this_thread());
        drop::<Away<'_>>(away);
        Ok(outcome?)
    }

    pub(crate) fn scene_of_this_thread(&self) -> Scene<'_> {
        let (capabilities, fsuid) = (self.home.capabilities, Some(self.credentials.fsuid));
        Scene::new(self, Actor { capabilities, fsuid, is_helper: false })
    }

    fn put_on(&self, capabilities: CapabilitySet) -> Result<(), (&'static str, Errno)> {
        let at = |step| move |errno| (step, errno);
        fchdir(&self.root).map_err(at("fchdir(root)"))?;
        chroot(c".").map_err(at("chroot"))?;
        self.home.put_on(&self.credentials, capabilities)
    }

    /// Holds what the caller has open as `fd`, as `O_PATH`: EBADF if nothing.
    pub fn open_descriptor(&self, fd: i32) -> Result<OwnedFd, Error> {
        self.of_descriptor("fd", fd, |entry| {
            openat(&self.task.proc, entry, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// [`open_descriptor`](Self::open_descriptor), or the working directory.
    pub(crate) fn directory_argument(&self, dirfd: i32) -> Result<OwnedFd, Error> {
        if dirfd != AT_FDCWD {
            return self.open_descriptor(dirfd);
        }
        let copy = fcntl_dupfd_cloexec(&self.cwd, 0);
        copy.map_err(|source| Error::Open { tid: self.tid, entry: "cwd", source })
    }

    /// How the caller has opened `fd`.
    pub(crate) fn descriptor_flags(&self, fd: i32) -> Result<OFlags, Error> {
        let info = self.of_descriptor("fdinfo", fd, |entry| read_status(self.task.proc.as_fd(), entry))?;
        let flags = parse_flags(&info).ok_or(Error::Status { tid: self.tid, field: "flags" })?;
        Ok(OFlags::from_bits_retain(flags))
    }

    fn of_descriptor<T>(
        &self,
        folder: &'static str,
        fd: i32,
        open: impl FnOnce(&str) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        if fd < 0 {
            return Err(Error::Call(Errno::BADF));
        }
        open(&format!("{folder}/{fd}")).map_err(|errno| match errno {
            Errno::NOENT => Error::Call(Errno::BADF),
            Errno::SRCH => Error::Gone,
            source => Error::Open { tid: self.tid, entry: folder, source },
        })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) const fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// What procfs calls it.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// The user namespace that it was in when it was opened.
    pub(crate) fn user_namespace(&self) -> Result<OwnedFd, Errno> {
        openat(&self.task.proc, "ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// The whole of a file in its directory of procfs.
    pub(crate) fn read(&self, entry: &str) -> Result<Vec<u8>, Errno> {
        read_status(self.task.proc.as_fd(), entry)
    }

    /// Its directory in our procfs, or its process's, which may be another.
    pub(crate) fn folder(&self, of_thread: bool) -> &OwnedFd {
        match &self.process {
            Some(process) if !of_thread => process,
            _ => &self.task.proc,
        }
    }

    pub(crate) fn open_namespace(&self, entry: &'static str) -> Result<OwnedFd, Error> {
        openat(&self.task.proc, entry, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            match errno {
                Errno::NOENT | Errno::SRCH => Error::Gone,
                source => Error::Open { tid: self.tid, entry, source },
            }
        })
    }
}

/// The directory argument that means the working directory.
pub const AT_FDCWD: i32 = libc::AT_FDCWD;

/// Where a path of a caller begins.
#[derive(Debug)]
pub struct Base(Option<OwnedFd>);

impl Base {
    /// The caller's working directory, or its root for an absolute path.
    pub const fn cwd() -> Self {
        Self(None)
    }

    pub(crate) fn of<'a>(&'a self, caller: &'a Caller) -> BorrowedFd<'a> {
        self.0.as_ref().unwrap_or(&caller.cwd).as_fd()
    }
}
