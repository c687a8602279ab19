//! What a container may use of the machine's memory, and what it uses.

use std::path::{Path, PathBuf};

use crate::cgroup::mounts::Mounts;
use crate::cgroup::places::{Places, is_root};
use crate::cgroup::{CgroupError, Hierarchy, read};

/// In bytes. A limit is the lowest of the cgroup's and of all around it; without one it is [`u64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    /// Of what is used, the content of files, which can be had back; without what is shared.
    pub(crate) cached: u64,
    /// Of what is used, shared memory and tmpfs.
    pub(crate) shared: u64,
    pub(crate) swap_limit: u64,
    pub(crate) swap_used: u64,
    /// How many threads there are, if they are counted.
    pub(crate) tasks: Option<u64>,
}

impl Usage {
    /// That of a container, of which thread `tid` has made a call and `init` is said to be the init; see [`Places`].
    /// `proc` is the procfs of our own pid namespace.
    pub(crate) fn of_container(proc: &Path, tid: u32, init: u32) -> Result<Self, CgroupError> {
        let places = Places::of_container(proc, tid, init)?;
        let mounts = read(&proc.join("self/mountinfo"))?;
        let find = |hierarchy| directory(&places, &mounts, hierarchy);
        let mut usage = if let Some(directory) = find(Hierarchy::Of("memory")) {
            Self::of_version_1(&directory)?
        } else {
            let unified = find(Hierarchy::Unified).and_then(|inner| with_file(&inner, "memory.current"));
            Self::of_version_2(&unified.ok_or(CgroupError::None("limited"))?)?
        };
        let pids = [Hierarchy::Of("pids"), Hierarchy::Unified].into_iter().find_map(find);
        usage.tasks = pids.and_then(|directory| value(&directory.join("pids.current")).ok());
        Ok(usage)
    }

    /// `Documentation/admin-guide/cgroup-v1/memory.rst` of the kernel.
    fn of_version_1(directory: &Path) -> Result<Self, CgroupError> {
        let stat = Stat::read(&directory.join("memory.stat"))?;
        let limit = stat.get("hierarchical_memory_limit").unwrap_or(u64::MAX);
        let shared = stat.get("total_shmem").unwrap_or(0);
        // Where swap is counted, together with memory.
        let both = stat.get("hierarchical_memsw_limit").unwrap_or(u64::MAX);
        Ok(Self {
            limit,
            used: value(&directory.join("memory.usage_in_bytes"))?,
            cached: stat.get("total_cache").unwrap_or(0).saturating_sub(shared),
            shared,
            swap_limit: if both >= UNLIMITED { u64::MAX } else { both.saturating_sub(limit) },
            swap_used: stat.get("total_swap").unwrap_or(0),
            tasks: None,
        })
    }

    /// `Documentation/admin-guide/cgroup-v2.rst` of the kernel.
    fn of_version_2(directory: &Path) -> Result<Self, CgroupError> {
        let stat = Stat::read(&directory.join("memory.stat"))?;
        let shared = stat.get("shmem").unwrap_or(0);
        Ok(Self {
            limit: lowest(directory, "memory.max"),
            used: value(&directory.join("memory.current"))?,
            cached: stat.get("file").unwrap_or(0).saturating_sub(shared),
            shared,
            swap_limit: lowest(directory, "memory.swap.max"),
            swap_used: value(&directory.join("memory.swap.current")).unwrap_or(0),
            tasks: None,
        })
    }
}

/// From here on a limit of version 1 is none: the kernel counts pages, in a signed number.
const UNLIMITED: u64 = i64::MAX as u64 - (1 << 20);

/// The lines of a file, each a name and a number.
struct Stat(String);

impl Stat {
    fn read(path: &Path) -> Result<Self, CgroupError> {
        Ok(Self(String::from_utf8_lossy(&read(path)?).into_owned()))
    }

    fn get(&self, name: &str) -> Option<u64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == name).and_then(|(_, value)| value.trim().parse().ok())
    }
}

/// The directory of the container's cgroup in one hierarchy, unless it is the root.
fn directory(places: &Places, mounts: &[u8], hierarchy: Hierarchy) -> Option<PathBuf> {
    let path = places.of(hierarchy).filter(|path| !is_root(path))?;
    Mounts::of(mounts, hierarchy)?.find(path).find(|directory| directory.is_dir())
}

/// The nearest cgroup, from `inner` on outwards, that has this file: the controller may be on further out only.
fn with_file(inner: &Path, file: &str) -> Option<PathBuf> {
    inner.ancestors().find(|directory| directory.join(file).exists()).map(Path::to_owned)
}

/// The lowest number in a file of this name, of a cgroup and those around it. The root has no such file.
fn lowest(inner: &Path, file: &str) -> u64 {
    let limits = inner.ancestors().map_while(|directory| value(&directory.join(file)).ok());
    limits.min().unwrap_or(u64::MAX)
}

/// A number, or `max`.
fn value(path: &Path) -> Result<u64, CgroupError> {
    let text = read(path)?;
    match text.trim_ascii() {
        b"max" => Ok(u64::MAX),
        digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(|| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no number");
            CgroupError::Read { path: path.to_owned(), source }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A procfs and cgroups, as directories; `@` in a line of mountinfo is where they are.
    fn tree(cgroup: &str, mountinfo: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir_in("/tmp").unwrap();
        let at = |path: &str| tree.path().join(path);
        for folder in ["proc/7", "proc/self"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("proc/7/cgroup"), cgroup).unwrap();
        fs::write(at("proc/self/mountinfo"), mountinfo.replace('@', &tree.path().display().to_string()))
            .unwrap();
        for (file, content) in files {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), content).unwrap();
        }
        tree
    }

    fn usage(tree: &tempfile::TempDir) -> Result<Usage, String> {
        Usage::of_container(&tree.path().join("proc"), 7, 0).map_err(|error| error.to_string())
    }

    const MEMORY: &str = "37 31 0:34 / @/memory rw - cgroup cgroup rw,memory\n";
    const PIDS: &str = "38 31 0:35 / @/pids rw - cgroup cgroup rw,pids\n";
    const UNIFIED: &str = "41 31 0:38 / @/v2 rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_first_version_says_what_holds_for_all_around_it() {
        let stat = "cache 1\nhierarchical_memory_limit 1000\nhierarchical_memsw_limit 1500\ntotal_cache 300\n\
            total_shmem 100\ntotal_swap 7\n";
        let tree = tree(
            "9:memory:/pod/c\n8:pids:/pod/c\n0::/",
            &[MEMORY, PIDS, UNIFIED].concat(),
            &[
                ("memory/pod/c/memory.stat", stat),
                ("memory/pod/c/memory.usage_in_bytes", "600\n"),
                ("pids/pod/c/pids.current", "12\n"),
            ],
        );
        let expected = Usage {
            limit: 1000,
            used: 600,
            cached: 200,
            shared: 100,
            swap_limit: 500,
            swap_used: 7,
            tasks: Some(12),
        };
        assert_eq!(usage(&tree), Ok(expected));
    }

    #[test]
    fn in_the_second_version_the_lowest_limit_around_it_counts() {
        let tree = tree(
            "0::/pod/c",
            UNIFIED,
            &[
                ("v2/pod/memory.max", "1000\n"),
                ("v2/pod/memory.swap.max", "max\n"),
                ("v2/pod/c/memory.max", "max\n"),
                ("v2/pod/c/memory.swap.max", "40\n"),
                ("v2/pod/c/memory.current", "600\n"),
                ("v2/pod/c/memory.swap.current", "7\n"),
                ("v2/pod/c/memory.stat", "anon 300\nfile 300\nshmem 100\n"),
            ],
        );
        let expected = Usage {
            limit: 1000,
            used: 600,
            cached: 200,
            shared: 100,
            swap_limit: 40,
            swap_used: 7,
            tasks: None,
        };
        assert_eq!(usage(&tree), Ok(expected));
    }

    #[test]
    fn where_nothing_is_counted_nothing_is_said() {
        for (cgroup, mountinfo) in [("0::/", UNIFIED), ("0::/pod/c", UNIFIED), ("9:memory:/c", UNIFIED)] {
            let nothing = usage(&tree(cgroup, mountinfo, &[("v2/pod/c/cgroup.procs", "")]));
            assert_eq!(nothing, Err("it is in no cgroup that can be limited".to_owned()), "{cgroup}");
        }
    }

    #[test]
    fn what_is_no_number_is_named() {
        let files = [("v2/c/memory.stat", ""), ("v2/c/memory.current", "many")];
        let refused = usage(&tree("0::/c", UNIFIED, &files)).unwrap_err();
        assert!(refused.ends_with("c/memory.current cannot be read: it is no number"), "{refused}");
    }
}
