//! The freezer of either version of cgroups.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::mounts::Mounts;
use crate::cgroup::places::{Places, is_root, is_within};
use crate::cgroup::{CgroupError, Hierarchy, read};

/// A cgroup that can be frozen, opened for that. See `cgroups(7)`, `cgroup.freeze` of the kernel's
/// `cgroup-v2.rst` and `freezer-subsystem.rst`.
#[derive(Debug)]
pub(crate) struct Freezer {
    directory: PathBuf,
    version: Version,
    switch: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The freezer's own hierarchy.
    One,
    /// The unified one.
    Two,
}

/// How often to look whether all tasks have stopped.
const INTERVAL: Duration = Duration::from_millis(2);

impl Freezer {
    /// That of a container, of which thread `tid` has made a call and `init` is said to be the init; see [`Places`].
    /// `proc` is the procfs of our own pid namespace.
    ///
    /// The freezer's own hierarchy comes first, since where it is mounted runtimes use it, and the place in the unified
    /// one may be that of the whole runtime.
    pub(crate) fn of_container(proc: &Path, tid: u32, init: u32) -> Result<Self, CgroupError> {
        let places = Places::of_container(proc, tid, init)?;
        Self::at(&places, &Places::read(proc, "self")?, &read(&proc.join("self/mountinfo"))?)
    }

    /// That of these places; `ours` are the agent's, and `mounts` the lines of its `/proc/self/mountinfo`.
    pub(super) fn at(places: &Places, ours: &Places, mounts: &[u8]) -> Result<Self, CgroupError> {
        for version in [Version::One, Version::Two] {
            let hierarchy = version.hierarchy();
            let Some(path) = places.of(hierarchy).filter(|path| !is_root(path)) else { continue };
            let Some(all) = Mounts::of(mounts, hierarchy) else { continue };
            let shown = || String::from_utf8_lossy(path).into_owned();
            if ours.of(hierarchy).is_none_or(|ours| is_within(ours, path)) {
                return Err(CgroupError::Ours { path: shown() });
            }
            // One mount may be read-only and another not.
            let opened = all.find(path).map(|directory| Self::open(directory, version));
            let first = opened.reduce(Result::or);
            return first.unwrap_or_else(|| Err(CgroupError::OutOfSight { path: shown() }));
        }
        Err(CgroupError::None("frozen"))
    }

    fn open(directory: PathBuf, version: Version) -> Result<Self, CgroupError> {
        let path = directory.join(version.switch());
        match OpenOptions::new().write(true).open(&path) {
            Ok(switch) => Ok(Self { directory, version, switch }),
            Err(source) => Err(CgroupError::Write { path, source }),
        }
    }

    /// The file that stops it and lets it go on.
    pub(crate) fn switch(&self) -> PathBuf {
        self.directory.join(self.version.switch())
    }

    /// What to write there to let it go on.
    pub(crate) const fn thaw(&self) -> &'static str {
        match self.version {
            Version::One => "THAWED",
            Version::Two => "0",
        }
    }

    /// Begins to stop all its tasks.
    pub(crate) fn freeze(&mut self) -> Result<(), CgroupError> {
        let word: &[u8] = match self.version {
            Version::One => b"FROZEN",
            Version::Two => b"1",
        };
        self.switch.write_all(word).map_err(|source| CgroupError::Write { path: self.switch(), source })
    }

    /// Waits until all its tasks have stopped; `false` if some have not for as long as `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let (file, word) = match self.version {
            Version::One => ("freezer.state", "FROZEN"),
            Version::Two => ("cgroup.events", "frozen 1"),
        };
        let deadline = Instant::now() + patience;
        loop {
            let said = std::fs::read_to_string(self.directory.join(file)).unwrap_or_default();
            if said.lines().any(|line| line == word) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Version {
    const fn hierarchy(self) -> Hierarchy {
        match self {
            Self::One => Hierarchy::Of("freezer"),
            Self::Two => Hierarchy::Unified,
        }
    }

    const fn switch(self) -> &'static str {
        match self {
            Self::One => "freezer.state",
            Self::Two => "cgroup.freeze",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A procfs and two hierarchies, as directories.
    struct Tree(tempfile::TempDir);

    /// Tasks other than the agent: their cgroups, and whose pid namespace they are in.
    const CALLER: u32 = 7;
    const INIT: u32 = 5;

    impl Tree {
        fn new(ours: &str, mountinfo: &[&str]) -> Self {
            let tree = Self(tempfile::tempdir_in("/tmp").unwrap());
            let at = tree.0.path().display();
            let lines: Vec<_> = mountinfo.iter().map(|line| line.replace('@', &at.to_string())).collect();
            tree.task("self", ours, "host");
            fs::write(tree.0.path().join("proc/self/mountinfo"), lines.join("\n")).unwrap();
            tree
        }

        fn proc(&self) -> PathBuf {
            self.0.path().join("proc")
        }

        fn task(&self, task: &str, cgroup: &str, namespace: &str) {
            let folder = self.proc().join(task);
            fs::create_dir_all(folder.join("ns")).unwrap();
            fs::write(folder.join("cgroup"), cgroup).unwrap();
            let inode = self.0.path().join(format!("ns-{namespace}"));
            if !inode.exists() {
                fs::write(&inode, "").unwrap();
            }
            fs::hard_link(&inode, folder.join("ns/pid")).unwrap();
        }

        /// A cgroup's directory with the freezer's file.
        fn cgroup(&self, path: &str, switch: &str) {
            fs::create_dir_all(self.0.path().join(path)).unwrap();
            fs::write(self.0.path().join(path).join(switch), "").unwrap();
        }

        fn find(&self) -> Result<String, String> {
            match Freezer::of_container(&self.proc(), CALLER, INIT) {
                Ok(found) => Ok(found.directory.strip_prefix(self.0.path()).unwrap().display().to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
    }

    const ONE: &str = "37 31 0:34 / @/v1 rw - cgroup cgroup rw,freezer";
    const TWO: &str = "41 31 0:38 / @/v2 rw shared:9 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn the_freezers_own_hierarchy_comes_first() {
        for (mounts, cgroup, expected) in [
            (&[TWO][..], "0::/pod/c", Ok("v2/pod/c")),
            (&[ONE, TWO], "9:freezer:/pod/c\n0::/runtime.service", Ok("v1/pod/c")),
            (&[ONE, TWO], "9:cpu,freezer:/pod/c\n0::/", Ok("v1/pod/c")),
            (&[ONE, TWO], "9:freezer:/\n0::/pod/c", Ok("v2/pod/c")),
            (&[TWO], "9:freezer:/pod/c\n0::/", Err("it is in no cgroup that can be frozen")),
            (&[ONE, TWO], "9:freezer:/\n0::/", Err("it is in no cgroup that can be frozen")),
            (&[], "0::/pod/c", Err("it is in no cgroup that can be frozen")),
        ] {
            let tree = Tree::new("9:freezer:/\n0::/agent", mounts);
            tree.task("7", cgroup, "container");
            tree.cgroup("v1/pod/c", "freezer.state");
            tree.cgroup("v2/pod/c", "cgroup.freeze");
            assert_eq!(tree.find(), expected.map(str::to_owned).map_err(str::to_owned), "{cgroup}");
        }
    }

    #[test]
    fn what_the_agent_is_in_is_never_frozen() {
        for (ours, theirs, expected) in [
            ("/a/agent", "/a/agent", Some("its cgroup \"/a/agent\" is the agent's as well")),
            ("/a/agent", "/a", Some("its cgroup \"/a\" is the agent's as well")),
            ("/a/agent", "/a/agent2", None),
            ("/a/agent", "/a/agent/below", None),
            // In a cgroup namespace of our own, what is above it contains us, and what is beside it is not seen.
            ("/", "/..", Some("it is in no cgroup that can be frozen")),
            (
                "/",
                "/../../b",
                Some(
                    "its cgroup \"/../../b\" cannot be seen from here; the agent needs the host's /sys/fs/cgroup",
                ),
            ),
        ] {
            let tree = Tree::new(&format!("0::{ours}"), &[TWO]);
            tree.task("7", &format!("0::{theirs}"), "container");
            tree.cgroup(&format!("v2{}", theirs.replace("/..", "")), "cgroup.freeze");
            assert_eq!(tree.find().err().as_deref(), expected, "{ours} {theirs}");
        }
    }

    #[test]
    fn a_mount_of_a_part_shows_what_is_below_it() {
        let part = TWO.replace(" / @/v2", " /pods @/v\\0402");
        // The host's root, mounted in the namespace of an agent two levels down.
        let above = TWO.replace(" / @/v2", " /../.. @/host");
        for (mount, ours, theirs, expected) in [
            (&part, "/agent", "/pods/c", Some("v 2/c")),
            (&part, "/agent", "/podsx/c", None),
            (&above, "/", "/../../pods/c", Some("host/pods/c")),
            (&above, "/", "/../c", None),
        ] {
            let tree = Tree::new(&format!("0::{ours}"), &[mount]);
            tree.task("7", &format!("0::{theirs}"), "container");
            tree.cgroup(expected.unwrap_or("nowhere"), "cgroup.freeze");
            assert_eq!(tree.find().ok().as_deref(), expected, "{theirs}");
        }
    }

    #[test]
    fn the_container_is_where_its_init_is() {
        for (init, number, namespace, callers, expected) in [
            ("0::/pod/c", "5\t1", "container", "container", "v2/pod/c"),
            // Also of a caller that is in a pid namespace of its own.
            ("0::/pod/c", "5\t1", "container", "nested", "v2/pod/c"),
            ("0::/pod/c", "5", "host", "host", "v2/pod/c"),
            // The caller has moved beside it, or the id is another container's by now.
            ("0::/pod/other", "5\t1", "container", "container", "v2/pod/other"),
            ("0::/pod/other", "5\t9", "container", "container", "v2/pod/c/sub"),
            ("0::/pod/other", "5\t1", "other", "container", "v2/pod/c/sub"),
            ("0::/pod/other", "5", "host", "host", "v2/pod/c/sub"),
            ("0::/", "5", "host", "host", "v2/pod/c/sub"),
        ] {
            let tree = Tree::new("0::/agent", &[TWO]);
            tree.task("7", "0::/pod/c/sub", callers);
            tree.task("5", init, namespace);
            fs::write(tree.proc().join("5/status"), format!("Name:\tx\nNSpid:\t{number}\n")).unwrap();
            for path in ["v2/pod/c/sub", "v2/pod/c", "v2/pod/other"] {
                tree.cgroup(path, "cgroup.freeze");
            }
            assert_eq!(tree.find().as_deref(), Ok(expected), "{init} {number} {namespace} {callers}");
        }
    }

    #[test]
    fn either_freezer_is_told_in_its_own_words() {
        for (version, state, said, word) in [
            (Version::One, "freezer.state", "FROZEN", "FROZEN"),
            (Version::Two, "cgroup.events", "populated 1\nfrozen 1\n", "1"),
        ] {
            let folder = tempfile::tempdir_in("/tmp").unwrap();
            fs::write(folder.path().join(version.switch()), "").unwrap();
            let mut cgroup = Freezer::open(folder.path().to_owned(), version).unwrap();
            cgroup.freeze().unwrap();
            assert_eq!(fs::read_to_string(cgroup.switch()).unwrap(), word);
            fs::write(folder.path().join(state), "FREEZING\nfrozen 0\n").unwrap();
            assert!(!cgroup.wait(INTERVAL));
            fs::write(folder.path().join(state), said).unwrap();
            assert!(cgroup.wait(INTERVAL));
        }
    }
}
