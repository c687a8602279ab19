//! Acting for callers with a user namespace of their own: by a process that has joined it.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{Gid, Stat, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, chroot, dumpable_behavior, fchdir, set_dumpable_behavior, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups};

use crate::caller::Caller;
use crate::error::Error;
use crate::home::{Home, from_nix, read_status};
use crate::id_map::IdMap;
use crate::process::{Process, end_with_parent};
use crate::raw;
use crate::scene::{Actor, Scene};

/// A process in a user namespace, which acts for the callers there.
///
/// What it is to be is put on before each call and stays on: between two calls it has the last caller's ids and
/// all capabilities of its namespace, and its root is our procfs.
#[derive(Debug)]
pub(crate) struct Helper {
    process: Process,
    maps: Maps,
    worn: Worn,
    /// What it may do at most, in its namespace.
    capabilities: CapabilitySets,
}

/// How ids are numbered in the namespace.
#[derive(Debug)]
pub(crate) struct Maps {
    users: IdMap,
    groups: IdMap,
}

/// Whose ids it has, as our user namespace numbers them; `None` if that is not known.
#[derive(Debug)]
struct Worn {
    groups: Option<Vec<Gid>>,
    ids: Option<(Uid, Gid)>,
}

/// What has to be changed of them, as its own namespace numbers them.
#[derive(Debug)]
struct Outfit {
    groups: Option<Vec<Gid>>,
    ids: Option<(Uid, Gid)>,
}

/// Where nothing has been done for the caller: the step that failed.
pub(crate) type Refusal = (&'static str, Errno);

impl Helper {
    /// Starts one in the caller's user namespace, with the caller's ids. Those need no numbers in the namespace:
    /// they are put on before it is joined.
    pub(crate) fn start(caller: &Caller) -> Result<Self, Refusal> {
        let at = |step| move |errno| (step, errno);
        refuse_if_dumpable(caller.home())?;
        let namespace = caller.user_namespace().map_err(at("ns/user"))?;
        let maps = Maps::of(caller)?;
        let credentials = caller.credentials();
        let mut process = Process::start().map_err(at("clone"))?;
        let entered = process.run(|| {
            set_thread_groups(&credentials.groups).map_err(at("setgroups"))?;
            raw::set_fsgid(credentials.fsgid).map_err(at("setfsgid"))?;
            raw::set_fsuid(credentials.fsuid).map_err(at("setfsuid"))?;
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("prctl(PR_SET_DUMPABLE)"))?;
            setns(&namespace, CloneFlags::CLONE_NEWUSER).map_err(|errno| ("setns(user)", from_nix(errno)))?;
            settle()?;
            let capabilities = capabilities(None).map_err(at("capget"))?;
            rest(caller.home());
            Ok(capabilities)
        });
        let capabilities = entered.map_err(|_| ("joining it", Errno::CHILD))??;
        let ids = Some((credentials.fsuid, credentials.fsgid));
        Ok(Self { process, maps, worn: Worn { groups: Some(credentials.groups.clone()), ids }, capabilities })
    }

    /// Whether it has ended, killed by somebody in the container.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Runs `deed` as the caller, with these capabilities of its user namespace. What `deed` owned is not dropped
    /// if the process is killed meanwhile.
    pub(crate) fn act<T>(
        &mut self,
        caller: &Caller,
        effective: CapabilitySet,
        deed: impl FnOnce(&Scene<'_>) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let tid = caller.tid();
        let refused = |(step, source)| Error::NoHelper { tid, step, source };
        if self.maps.is_incomplete() {
            self.maps = Maps::of(caller).map_err(refused)?;
        }
        let credentials = caller.credentials();
        let outfit = self.outfit(caller).map_err(refused)?;
        let inside = self.maps.users.inside(credentials.fsuid.as_raw()).map(Uid::from_raw);
        let mut sets = self.capabilities;
        let actor = Actor { capabilities: sets, fsuid: inside, is_helper: true };
        // What is changed is not known until all of it has been.
        if outfit.ids.is_some() {
            self.worn.ids = None;
        }
        if outfit.groups.is_some() {
            self.worn.groups = None;
        }
        let acted = self.process.run(|| {
            let dressed = outfit.put_on(&sets).and_then(|()| {
                umask(credentials.umask);
                enter(caller.root())?;
                sets.effective = effective & sets.permitted;
                set_capabilities(None, sets).map_err(|errno| ("capset", errno))
            });
            if let Err(refusal) = dressed {
                rest(caller.home());
                return Err(refusal);
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| deed(&Scene::new(caller, actor))));
            if set_capabilities(None, actor.capabilities).is_err() {
                raw::end_thread();
            }
            rest(caller.home());
            Ok(outcome)
        });
        let outcome = acted.map_err(|_| Error::HelperEnded { tid })?.map_err(refused)?;
        self.worn.ids = Some((credentials.fsuid, credentials.fsgid));
        if outfit.groups.is_some() {
            self.worn.groups = Some(credentials.groups.clone());
        }
        // The report is left out: the process must not make one, and there is none of who caught it.
        Ok(outcome.unwrap_or_else(|panic| resume_unwind(panic))?)
    }

    fn outfit(&self, caller: &Caller) -> Result<Outfit, Refusal> {
        const UNMAPPED: Refusal = ("mapping its ids", Errno::OVERFLOW);
        let credentials = caller.credentials();
        let user = |id: Uid| self.maps.users.inside(id.as_raw()).map(Uid::from_raw).ok_or(UNMAPPED);
        let group = |id: Gid| self.maps.groups.inside(id.as_raw()).map(Gid::from_raw).ok_or(UNMAPPED);
        let groups = if self.worn.groups.as_ref() == Some(&credentials.groups) {
            None
        } else {
            Some(credentials.groups.iter().copied().map(group).collect::<Result<_, _>>()?)
        };
        let ids = if self.worn.ids == Some((credentials.fsuid, credentials.fsgid)) {
            None
        } else {
            Some((user(credentials.fsuid)?, group(credentials.fsgid)?))
        };
        Ok(Outfit { groups, ids })
    }
}

impl Outfit {
    /// In the process, with all its capabilities.
    fn put_on(&self, all: &CapabilitySets) -> Result<(), Refusal> {
        if let Some(groups) = &self.groups {
            set_thread_groups(groups).map_err(|errno| ("setgroups", errno))?;
        }
        let Some((user, group)) = self.ids else { return Ok(()) };
        raw::set_fsgid(group).map_err(|errno| ("setfsgid", errno))?;
        raw::set_fsuid(user).map_err(|errno| ("setfsuid", errno))?;
        settle()?;
        // A user id that is not zero any more takes capabilities along.
        set_capabilities(None, *all).map_err(|errno| ("capset", errno))
    }
}

impl Maps {
    pub(crate) fn of(caller: &Caller) -> Result<Self, Refusal> {
        let read = |entry| {
            let map = caller.read(entry).map_err(|errno| (entry, errno))?;
            IdMap::parse(&map).ok_or((entry, Errno::INVAL))
        };
        Ok(Self { users: read("uid_map")?, groups: read("gid_map")? })
    }

    /// Whether the namespace has numbers for a file's owner and group, as we see them.
    pub(crate) fn have(&self, file: &Stat) -> bool {
        self.users.inside(file.st_uid).is_some() && self.groups.inside(file.st_gid).is_some()
    }

    const fn is_incomplete(&self) -> bool {
        self.users.is_empty() || self.groups.is_empty()
    }
}

/// What has to be seen to after each change of ids, which the kernel takes as a reason to forget who is to be told
/// of the parent's end, and to look again who may trace the process.
fn settle() -> Result<(), Refusal> {
    end_with_parent();
    match dumpable_behavior() {
        // Somebody has changed the setting below. What could be traced from the container must not live on.
        Ok(DumpableBehavior::Dumpable) | Err(_) => raw::end_thread(),
        Ok(_) => Ok(()),
    }
}

/// In our user namespace only those who may trace everybody may look into a process that is not dumpable: it has
/// our memory and descriptors. `fs.suid_dumpable` of 1 makes every process that changes its ids dumpable.
pub(crate) fn refuse_if_dumpable(home: &Home) -> Result<(), Refusal> {
    const SETTING: &str = "sys/fs/suid_dumpable";
    const STEP: &str = "fs.suid_dumpable, which must not be 1";
    let setting = read_status(home.proc.as_fd(), SETTING).map_err(|errno| (STEP, errno))?;
    if setting.trim_ascii() == b"1" { Err((STEP, Errno::PERM)) } else { Ok(()) }
}

/// Makes a directory the root.
fn enter(root: &OwnedFd) -> Result<(), Refusal> {
    fchdir(root).map_err(|errno| ("fchdir(root)", errno))?;
    chroot(c".").map_err(|errno| ("chroot", errno))
}

/// Leaves the container's tree, which the process would keep from being unmounted. Everybody may search procfs.
fn rest(home: &Home) {
    if enter(&home.proc).is_err() {
        raw::end_thread();
    }
}
