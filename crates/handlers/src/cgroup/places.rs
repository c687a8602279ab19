use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cgroup::{CgroupError, Hierarchy, read};

/// Where a task is in each hierarchy, as `/proc/PID/cgroup` says.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Places {
    /// By the controllers, of which the unified hierarchy names none.
    paths: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Those by which a container is told: runtimes give each container a place of its own there.
const TELLING: [Hierarchy; 2] = [Hierarchy::Of("freezer"), Hierarchy::Unified];

impl Places {
    /// Those of a container, of which thread `tid` has made a call and `init` is said to be the init (0 where that is
    /// not known). `proc` is the procfs of our own pid namespace.
    ///
    /// They are init's if those contain the caller's, or if init is the first process of the caller's pid namespace: a
    /// number alone proves little, and may be anybody's by now. Otherwise they are the caller's own.
    pub(super) fn of_container(proc: &Path, tid: u32, init: u32) -> Result<Self, CgroupError> {
        let caller = Self::read(proc, &tid.to_string())?;
        match Self::read(proc, &init.to_string()) {
            Ok(inits) if init != 0 && is_init_of(proc, init, tid, &inits, &caller) => Ok(inits),
            _ => Ok(caller),
        }
    }

    pub(super) fn read(proc: &Path, task: &str) -> Result<Self, CgroupError> {
        Ok(Self::parse(&read(&proc.join(task).join("cgroup"))?))
    }

    /// Lines are `NUMBER:CONTROLLER,…:PATH`, without controllers for the unified hierarchy.
    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
            Some((parts.next()?.to_vec(), parts.next()?.to_vec()))
        });
        Self { paths: lines.collect() }
    }

    pub(super) fn of(&self, hierarchy: Hierarchy) -> Option<&[u8]> {
        let found = self.paths.iter().find(|(controllers, _)| match hierarchy {
            Hierarchy::Unified => controllers.is_empty(),
            Hierarchy::Of(wanted) => {
                controllers.split(|byte| *byte == b',').any(|one| one == wanted.as_bytes())
            }
        });
        found.map(|(_, path)| path.as_slice())
    }

    /// Whether `other` is nowhere but in or below these. A root, which contains everything, proves nothing.
    fn contain(&self, other: &Self) -> bool {
        TELLING.into_iter().all(|hierarchy| match (self.of(hierarchy), other.of(hierarchy)) {
            (Some(outer), Some(inner)) => is_within(inner, outer) && is_root(outer) == is_root(inner),
            (outer, inner) => outer.is_none() && inner.is_none(),
        })
    }
}

/// Whether `init` is the init of the container of which thread `tid` has made a call; see [`Places::of_container`].
/// One whose place has the agent in it as well is told by its pid namespace only.
pub(crate) fn is_init(proc: &Path, init: u32, tid: u32) -> bool {
    let places = |task: &str| Places::read(proc, task);
    let (Ok(inits), Ok(callers), Ok(ours)) =
        (places(&init.to_string()), places(&tid.to_string()), places("self"))
    else {
        return false;
    };
    is_first_of(proc, init, tid) || (inits.contain(&callers) && !inits.contain(&ours))
}

fn is_init_of(proc: &Path, init: u32, tid: u32, inits: &Places, callers: &Places) -> bool {
    inits.contain(callers) || is_first_of(proc, init, tid)
}

/// Whether it is the first process of the pid namespace that `tid` is in.
fn is_first_of(proc: &Path, init: u32, tid: u32) -> bool {
    let namespace = |task: u32| {
        let data = std::fs::metadata(proc.join(task.to_string()).join("ns/pid")).ok()?;
        Some((data.dev(), data.ino()))
    };
    let theirs = namespace(tid);
    theirs.is_some() && theirs == namespace(init) && innermost_pid(proc, init) == Some(1)
}

/// A process's id in its own pid namespace (`NSpid`, `proc_pid_status(5)`); `None` for one of ours.
fn innermost_pid(proc: &Path, process: u32) -> Option<u32> {
    let status = std::fs::read(proc.join(process.to_string()).join("status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    std::str::from_utf8(line).ok()?.split_whitespace().skip(1).last()?.parse().ok()
}

/// Whether `inner` is `outer` or below it. Paths that begin with `/..` lead out of our cgroup namespace.
pub(super) fn is_within(inner: &[u8], outer: &[u8]) -> bool {
    let outer = outer.strip_suffix(b"/").unwrap_or(outer);
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The root, or what lies above that of our cgroup namespace and so contains us.
pub(super) fn is_root(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|name| matches!(name, b"" | b".."))
}
