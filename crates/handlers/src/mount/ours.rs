//! The mounts that were made for containers: only these can be changed and unmounted for them.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::mount::MountAttrFlags;
use seccomp_agent_nsenter::{MountId, MountNamespace, Mounted};
use seccomp_agent_registry::{Call, Errno};

use super::file_system::FileSystem;
use super::mounter::Mounter;
use super::refuse;
use super::table::{self, Line};
use crate::emulate::Failure;

/// A mount that was made for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) id: MountId,
    /// What it was made of.
    pub(super) of: Origin,
    /// Attributes that it keeps.
    pub(super) kept: MountAttrFlags,
    /// Whether something that is locked is mounted on it.
    pub(super) is_locked: bool,
    /// Whether it has been asked for by `MNT_EXPIRE`, and was not busy.
    pub(super) is_expiring: bool,
    /// Whether only callers that have `CAP_SYS_ADMIN` in their own user namespace were to have it.
    pub(super) needs_sys_admin: bool,
}

impl Made {
    /// One that is not attached yet.
    pub(super) const fn of(of: Origin, kept: MountAttrFlags) -> Self {
        let id = MountId { number: 0, identity: 0 };
        Self { id, of, kept, is_locked: false, is_expiring: false, needs_sys_admin: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    FileSystem(FileSystem),
    Bind,
}

/// Those in one mount namespace, whichever listeners their containers have.
#[derive(Debug)]
pub(super) struct Ours {
    /// Held, so that no other namespace gets its number.
    _namespace: OwnedFd,
    number: (u64, u64),
    /// Whether a caller that may mount there itself was the first: nobody else's mounts are counted there either.
    is_uncounted: bool,
    made: Mutex<Vec<Made>>,
    binding: Mutex<()>,
}

/// Why nothing is mounted.
pub(super) const IN_OURS: &str = "the caller is in the agent's own mount namespace";

/// How many mounts there are at once in a namespace that were made for its container. Each is in the kernel's memory
/// for as long as the namespace is, and charged to nobody.
const MAX_MOUNTS: usize = 512;

/// How many mount namespaces the processes of one listener mount in: they cannot make new ones without being
/// helped, so these are few. Of those that they make in user namespaces of their own, the oldest is forgotten.
const MAX_NAMESPACES: usize = 8;

/// All that some listener keeps.
static ALL: Mutex<Vec<Weak<Ours>>> = Mutex::new(Vec::new());

/// What a listener keeps.
#[derive(Default)]
struct Kept(Mutex<Vec<Arc<Ours>>>);

impl Ours {
    /// Those in a caller's namespace, to be added to: in none that the agent itself is in. ENOSPC if the listener has
    /// mounted in too many.
    pub(super) fn of(call: &Call<'_>, mounter: &Mounter) -> Result<Arc<Self>, Failure> {
        let namespace = &mounter.namespace;
        if namespace.is_ours()? {
            return refuse(call, IN_OURS);
        }
        let number = number(namespace)?;
        let kept = call.container().keep(Kept::default);
        let mut kept = locked(&kept.0);
        if let Some(ours) = kept.iter().find(|ours| ours.number == number) {
            return Ok(Arc::clone(ours));
        }
        if kept.len() == MAX_NAMESPACES {
            let forgotten = kept.iter().position(|ours| ours.is_uncounted).ok_or(Errno::NOSPC)?;
            kept.remove(forgotten);
        }
        let mut all = locked(&ALL);
        all.retain(|ours| ours.strong_count() > 0);
        let found = all.iter().filter_map(Weak::upgrade).find(|ours| ours.number == number);
        let ours = if let Some(ours) = found {
            ours
        } else {
            let namespace = fcntl_dupfd_cloexec(namespace, 0)?;
            let ours = Arc::new(Self {
                _namespace: namespace,
                number,
                is_uncounted: mounter.is_capable,
                made: Mutex::default(),
                binding: Mutex::default(),
            });
            all.push(Arc::downgrade(&ours));
            ours
        };
        kept.push(Arc::clone(&ours));
        Ok(ours)
    }

    /// Those in a namespace, if there are any.
    pub(super) fn known(namespace: &MountNamespace) -> Result<Option<Arc<Self>>, Failure> {
        let number = number(namespace)?;
        Ok(locked(&ALL).iter().filter_map(Weak::upgrade).find(|ours| ours.number == number))
    }

    /// Attaches a mount and remembers it. ENOSPC if there are too many. `made` says what it is, `lines` what mounts
    /// there were, if that is known.
    pub(super) fn attach(
        &self,
        call: &Call<'_>,
        namespace: &MountNamespace,
        mount: &OwnedFd,
        target: &OwnedFd,
        mut lines: Vec<Line>,
        made: Made,
    ) -> Result<(), Failure> {
        // Nobody unmounts meanwhile.
        let mut all = self.lock();
        let number = Mounted::of(target)?.mount.number;
        // Whether a mount is shared does not change, for no container may do that.
        if !lines.iter().any(|line| line.number == number) || all.len() >= MAX_MOUNTS {
            lines = table::parse(&namespace.table()?);
        }
        check_place(call, &lines, target)?;
        if all.len() >= MAX_MOUNTS {
            forget_gone(&mut all, &mut lines);
        }
        if all.len() >= MAX_MOUNTS {
            call.note(|noted| {
                noted.because("too many mounts of the container's");
            });
            return Err(Errno::NOSPC.into());
        }
        namespace.attach(mount, target, || call.is_valid())?;
        all.push(Made { id: Mounted::of(mount)?.mount, ..made });
        Ok(())
    }

    /// Until it is dropped, nobody else binds in this namespace.
    pub(super) fn binding(&self) -> MutexGuard<'_, ()> {
        locked(&self.binding)
    }

    /// The numbers in the table of mounts that the container has made itself.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lock().iter().map(|made| made.id.number).collect()
    }

    /// All of them, for as long as nobody is to change or unmount one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        locked(&self.made)
    }
}

impl Made {
    /// Whether a caller may have it changed and unmounted.
    pub(super) const fn is_for(&self, mounter: &Mounter) -> bool {
        mounter.is_capable || !self.needs_sys_admin
    }

    pub(super) fn is(&self, mounted: Mounted) -> bool {
        mounted.is_root && mounted.mount == self.id
    }
}

/// What tells a namespace from all others there are.
pub(super) fn number(namespace: &MountNamespace) -> Result<(u64, u64), Errno> {
    let stat = fstat(namespace)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether something can be mounted on `target` in a namespace with these mounts.
pub(super) fn check_place(call: &Call<'_>, lines: &[Line], target: &OwnedFd) -> Result<(), Failure> {
    let place = Mounted::of(target)?;
    // The kernel's answer where it is in no namespace, or in another.
    let on = lines.iter().find(|line| line.number == place.mount.number).ok_or(Errno::INVAL)?;
    if on.is_shared {
        return refuse(call, "others would see it: what it would be mounted on is shared");
    }
    if on.at == b"/" && place.is_root {
        // Whoever joins the namespace, the runtime and the agent included, would find it instead.
        return refuse(call, "it would be mounted on the root of all");
    }
    Ok(())
}

/// Forgets what is mounted below a mount that has been detached with all of that.
pub(super) fn forget_below(all: &mut Vec<Made>, number: u64, lines: &[Line]) {
    let mut gone = vec![number];
    let mut looked_at = 0;
    while let Some(parent) = gone.get(looked_at).copied() {
        gone.extend(lines.iter().filter(|line| line.parent == parent).map(|line| line.number));
        looked_at += 1;
        if gone.len() > lines.len() {
            break;
        }
    }
    all.retain(|made| !gone.contains(&made.id.number));
}

fn forget_gone(all: &mut Vec<Made>, lines: &mut [Line]) {
    lines.sort_unstable_by_key(|line| line.number);
    all.retain(|made| lines.binary_search_by_key(&made.id.number, |line| line.number).is_ok());
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
