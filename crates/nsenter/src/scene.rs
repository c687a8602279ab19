use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Uid, fstat, openat, statat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

use crate::caller::{Base, Caller};
use crate::entry::EntryPath;
use crate::helper::Maps;
use crate::own::{Link, OwnLink};
use crate::raw;
use crate::walk::{Found, is_procfs, may_search, walk};

/// What a caller's paths lead to, while a thread acts as the caller.
///
/// Paths are walked once, to a descriptor; what is done then is done to that. They are never walked through a
/// *magic link* of procfs (`/proc/PID/root`, `cwd`, `fd/N`): the kernel lets the threads of a process through each
/// other's unasked, so the acting thread's way through `/proc/<agent>/root` would end on the host.
///
/// The caller's own are another matter: `/proc/self/cwd`, `/proc/thread-self/root`, `/dev/fd/N` and so on lead to
/// what they mean for the caller. Those of any other process are refused with EACCES, as to a caller that may not
/// trace it. A process is known by its id in the caller's own pid namespace: in a procfs of an outer one, an id
/// that happens to be the same means the caller as well.
#[derive(Debug)]
pub struct Scene<'a> {
    caller: &'a Caller,
    actor: Actor,
    /// Where what is done counts outside the caller's user namespace: which ids that has.
    maps: Option<&'a Maps>,
}

/// Who acts: a thread of ours, or a helper in the caller's user namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor {
    /// What it may do at most.
    pub(crate) capabilities: CapabilitySets,
    /// The caller's user as the actor's user namespace numbers it, if it does.
    pub(crate) fsuid: Option<Uid>,
    /// Whether it is a helper, which never leaves its user namespace again.
    pub(crate) is_helper: bool,
}

/// A directory of the caller, and the name of something to be made there.
#[derive(Debug)]
pub struct Place<'p> {
    directory: OwnedFd,
    name: &'p CStr,
}

impl Place<'_> {
    /// The directory: an `O_PATH` descriptor.
    pub fn directory(&self) -> impl AsFd {
        &self.directory
    }

    /// The name in it: no slash but at the end.
    pub const fn name(&self) -> &CStr {
        self.name
    }
}

impl<'a> Scene<'a> {
    pub(crate) const fn new(caller: &'a Caller, actor: Actor) -> Self {
        Self { caller, actor, maps: None }
    }

    /// With the ids of the caller's user namespace.
    pub(crate) const fn with_maps<'b>(&self, maps: &'b Maps) -> Scene<'b>
    where
        'a: 'b,
    {
        Scene { caller: self.caller, actor: self.actor, maps: Some(maps) }
    }

    pub(crate) const fn caller(&self) -> &'a Caller {
        self.caller
    }

    pub(crate) const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Where an entry is to be made. Nothing can be made in procfs: there it is ENOENT, or EEXIST if there is
    /// an entry of that name, as natively.
    pub fn place<'p>(&self, base: &Base, path: &'p EntryPath) -> Result<Place<'p>, Errno> {
        let here = base.of(self.caller());
        if path.parent.as_c_str() == c"." && !is_procfs(here)? {
            // Nothing to walk: whether it is a directory that may be searched is asked for the name in it.
            return Ok(Place { directory: fcntl_dupfd_cloexec(here, 0)?, name: &path.name });
        }
        let Found { file: directory, in_procfs } = walk(self, base, &path.parent, OFlags::DIRECTORY)?;
        if in_procfs {
            may_search(self, &fstat(&directory)?)?;
            // Of a name that ends in a slash the kernel would follow a link.
            if path.name.to_bytes().ends_with(b"/") {
                return Err(Errno::NOENT);
            }
            return match statat(&directory, &path.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(errno) => Err(errno),
            };
        }
        Ok(Place { directory, name: &path.name })
    }

    /// What to mount onto: an `O_PATH` descriptor. It may be an entry of procfs: what covers it is seen in the
    /// caller's mount namespace, and where the mount that it is on is shared, in those that it propagates to
    /// (`mount_namespaces(7)`). Of the flags, `NOFOLLOW` and `DIRECTORY` count.
    pub fn mount_point(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        walk(self, &Base::cwd(), path, flags).map(|found| found.file)
    }

    /// While acting: opens what a magic link of the caller's own leads to, in **our** procfs, where its
    /// directory has been held since before its notification was valid. The kernel follows such links for the
    /// caller unasked; of us it asks capabilities, so we have our own for this one call.
    pub(crate) fn open_own(&self, own: OwnLink<'_>) -> Result<OwnedFd, Errno> {
        let directory = self.caller().folder(own.of_thread);
        let path = OFlags::PATH | OFlags::CLOEXEC;
        self.with_own_capabilities(|| match own.link {
            Link::Root => openat(directory, c"root", path, Mode::empty()),
            Link::Cwd => openat(directory, c"cwd", path, Mode::empty()),
            Link::Fd(number) => {
                let descriptors = openat(directory, c"fd", path | OFlags::DIRECTORY, Mode::empty());
                descriptors.and_then(|descriptors| openat(descriptors, number, path, Mode::empty()))
            }
        })
    }

    /// Whether a file belongs to somebody whom the caller's user namespace has no number for. No capability of
    /// that namespace reaches such a file, so one that is granted [outside](Caller::act_outside) should not either:
    /// the kernel's answer is EPERM. False where the caller is acted for with its own capabilities.
    pub fn is_foreign(&self, file: impl AsFd) -> Result<bool, Errno> {
        self.maps.map_or(Ok(false), |maps| Ok(!maps.have(&fstat(file)?)))
    }

    /// While acting: makes one call with what the acting thread may do at most.
    pub(crate) fn with_own_capabilities<T>(
        &self,
        call: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let acting = capabilities(None)?;
        set_capabilities(None, self.actor.capabilities)?;
        let outcome = call();
        if set_capabilities(None, acting).is_err() {
            // What follows would be done with more than was granted.
            raw::end_thread();
        }
        outcome
    }
}
