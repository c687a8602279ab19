use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use crate::cgroup::places::Places;
use crate::cgroup::{CgroupError, Freezer, read};

/// How many cgroups there are that have others than the agent in them and that it could freeze; nothing is frozen. `proc` is
/// the procfs of our own pid namespace.
///
/// # Errors
/// A cgroup that could not be frozen, for the reason for which [`Freeze`](crate::Freeze) would fail in a container there, and
/// for which [`Sysinfo`](crate::Sysinfo) would not know what the container has.
pub fn cgroups_in_sight(proc: &Path) -> Result<usize, CgroupError> {
    let ours = Places::read(proc, "self")?;
    let mounts = read(&proc.join("self/mountinfo"))?;
    let entries = std::fs::read_dir(proc);
    let entries = entries.map_err(|source| CgroupError::Read { path: proc.to_owned(), source })?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let tasks = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    // Some end meanwhile.
    let all: HashSet<_> = tasks.filter_map(|task| Places::read(proc, &task).ok()).collect();
    let mut seen = 0;
    for places in all {
        match Freezer::at(&places, &ours, &mounts) {
            Ok(_) => seen += 1,
            // What nobody freezes, and what has gone since.
            Err(CgroupError::None(_) | CgroupError::Ours { .. }) => {}
            Err(CgroupError::Write { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is found where a process is in each of `cgroups`, of which `existing` are there as directories.
    fn sight(mount: &str, cgroups: &[&str], existing: &[&str]) -> Result<usize, String> {
        let tree = tempfile::tempdir_in("/tmp").unwrap();
        let proc = tree.path().join("proc");
        let task = |name: &str, cgroup: &str| {
            fs::create_dir_all(proc.join(name)).unwrap();
            fs::write(proc.join(name).join("cgroup"), cgroup).unwrap();
        };
        task("self", "0::/agent\n");
        let mount = mount.replace('@', &tree.path().display().to_string());
        fs::write(proc.join("self/mountinfo"), mount).unwrap();
        // No process, whatever it has.
        task("sys", "0::/out/of/sight\n");
        for (number, cgroup) in cgroups.iter().enumerate() {
            task(&(number + 1).to_string(), cgroup);
        }
        for cgroup in existing {
            let directory = tree.path().join("cgroup").join(cgroup);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.freeze"), "0").unwrap();
        }
        cgroups_in_sight(&proc).map_err(|error| error.to_string())
    }

    #[test]
    fn each_cgroup_of_others_has_to_be_in_sight() {
        let all = "41 31 0:38 / @/cgroup rw - cgroup2 cgroup2 rw";
        let own = "41 31 0:38 /agent @/cgroup ro - cgroup2 cgroup2 rw";
        let unseen =
            "its cgroup \"/pods/a\" cannot be seen from here; the agent needs the host's /sys/fs/cgroup";
        for (mount, cgroups, existing, expected) in [
            (all, &["0::/pods/a\n", "0::/pods/a\n", "0::/pods/b\n"][..], &["pods/a", "pods/b"][..], Ok(2)),
            // The machine's own, the agent's, and one that has gone.
            (all, &["0::/\n", "0::/agent\n", "0::/pods/a\n"], &["agent"], Ok(0)),
            (own, &["0::/agent\n", "0::/pods/a\n"], &[], Err(unseen)),
            (own, &["0::/agent\n", "0::/agent/b\n"], &["b"], Ok(1)),
            // Nothing is mounted.
            ("", &["0::/pods/a\n"], &[], Ok(0)),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(sight(mount, cgroups, existing), expected, "{mount} {cgroups:?}");
        }
    }
}
