use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{chroot, fchdir, umask};
use rustix::thread::{CapabilitySet, set_capabilities};

use crate::error::Error;
use crate::home::{Away, Home, namespace_id, read_status};
use crate::mount::{MountNamespace, PidNamespace};
use crate::raw;
use crate::scene::Scene;
use crate::status::Credentials;

/// A task that waits in a notified call, with everything of it that decides what a path means and what it may
/// do: opened and read once, to be acted on after the notification has proved to be still valid.
///
/// Belongs to the thread that opened it.
#[derive(Debug)]
pub struct Caller {
    tid: u32,
    home: Rc<Home>,
    /// Its directory in our procfs. Whatever is looked up there is this task's, or nobody's.
    proc: OwnedFd,
    root: OwnedFd,
    cwd: OwnedFd,
    credentials: Credentials,
    is_in_our_user_namespace: bool,
}

impl Caller {
    /// Opens the caller with this thread id. On a thread's first use, the thread gets a root, a working
    /// directory and a umask for itself (`unshare(2)`, `CLONE_FS`) and notes its own state.
    pub fn open(tid: u32) -> Result<Self, Error> {
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
        let proc =
            openat(&home.proc, tid.to_string(), path, Mode::empty()).map_err(failed("the directory"))?;
        let folder = |name: &'static str| openat(&proc, name, path, Mode::empty()).map_err(failed(name));
        let (root, cwd) = (folder("root")?, folder("cwd")?);
        let status = read_status(proc.as_fd(), "status").map_err(failed("status"))?;
        let credentials = Credentials::parse(&status).map_err(|field| Error::Status { tid, field })?;
        let user_namespace = namespace_id(proc.as_fd(), "ns/user").map_err(failed("ns/user"))?;
        let is_in_our_user_namespace = user_namespace == home.user_namespace;
        Ok(Self { tid, home, proc, root, cwd, credentials, is_in_our_user_namespace })
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
        self.is_in_our_user_namespace
    }

    /// Where `path` begins when it comes with the directory argument `dirfd`: at the root if it is absolute,
    /// at the working directory for `AT_FDCWD`, or at what the caller has open as `dirfd` (else EBADF).
    pub fn base(&self, dirfd: i32, path: &CStr) -> Result<Base, Error> {
        let starts_elsewhere = matches!(path.to_bytes().first(), None | Some(b'/'));
        if starts_elsewhere || dirfd == AT_FDCWD {
            return Ok(Base(None));
        }
        if dirfd < 0 {
            return Err(Error::Call(Errno::BADF));
        }
        let opened = openat(&self.proc, format!("fd/{dirfd}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        opened.map(|fd| Base(Some(fd))).map_err(|errno| match errno {
            Errno::NOENT => Error::Call(Errno::BADF),
            Errno::SRCH => Error::Gone,
            source => Error::Open { tid: self.tid, entry: "fd", source },
        })
    }

    /// The mount namespace it is in.
    pub fn mount_namespace(&self) -> Result<MountNamespace, Error> {
        let namespace = self.namespace("ns/mnt")?;
        Ok(MountNamespace::new(self.tid, Rc::clone(&self.home), namespace))
    }

    /// The pid namespace it is in.
    pub fn pid_namespace(&self) -> Result<PidNamespace, Error> {
        Ok(PidNamespace::new(self.namespace("ns/pid")?))
    }

    /// Asks `is_valid` whether the caller still waits, and if so runs `deed` **as the caller**: with its root,
    /// working directory, umask, file-system ids, supplementary groups and effective capabilities, and with
    /// those that `grant` adds. Then the thread is itself again. A panic of `deed` finds it so.
    ///
    /// Capabilities count in the user namespace they are held in. A caller in another one than ours is served
    /// without any, granted or not.
    ///
    /// `deed` may make system calls through the [`Scene`] and through rustix, with descriptors that the scene
    /// resolved, and nothing else: no allocation, no logging, no name or locale look-up, no thread. Those would
    /// open the container's files as the agent.
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
        let capabilities = if self.is_in_our_user_namespace {
            self.credentials.effective | grant
        } else {
            CapabilitySet::empty()
        };
        if !is_valid() {
            return Err(Error::Gone);
        }
        let away = self.home.leave()?;
        self.put_on(capabilities).map_err(|(step, source)| Error::Become { tid: self.tid, step, source })?;
        let outcome = deed(&Scene::new(self));
        drop::<Away<'_>>(away);
        Ok(outcome?)
    }

    /// Takes on the caller's state, in the order that each step permits the next.
    fn put_on(&self, capabilities: CapabilitySet) -> Result<(), (&'static str, Errno)> {
        let at = |step| move |errno| (step, errno);
        fchdir(&self.root).map_err(at("fchdir(root)"))?;
        chroot(c".").map_err(at("chroot"))?;
        fchdir(&self.cwd).map_err(at("fchdir(cwd)"))?;
        umask(self.credentials.umask);
        self.home.set_groups(&self.credentials.groups).map_err(at("setgroups"))?;
        raw::set_fsgid(self.credentials.fsgid).map_err(at("setfsgid"))?;
        raw::set_fsuid(self.credentials.fsuid).map_err(at("setfsuid"))?;
        let mut sets = self.home.capabilities;
        sets.effective = capabilities & sets.permitted;
        set_capabilities(None, sets).map_err(at("capset"))
    }

    fn namespace(&self, entry: &'static str) -> Result<OwnedFd, Error> {
        openat(&self.proc, entry, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
            |errno| match errno {
                Errno::NOENT | Errno::SRCH => Error::Gone,
                source => Error::Open { tid: self.tid, entry, source },
            },
        )
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
}

impl AsFd for Base {
    /// While acting, the working directory is the caller's.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().map_or(CWD, AsFd::as_fd)
    }
}
