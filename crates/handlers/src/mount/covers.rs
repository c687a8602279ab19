//! What of the kernel's own file systems a container is not to see or to change: the entries of its procfs and
//! sysfs that the runtime has covered, and whether it has made them read-only.

use std::collections::BTreeMap;
use std::ffi::CString;

use seccomp_agent_nsenter::{Cover, MountNamespace};
use seccomp_agent_registry::Errno;

use super::file_system::FileSystem;
use super::table::Line;
use crate::emulate::Failure;

/// What every new mount of a file system has to have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Covers {
    /// By the entry, the mounts that cover it: where they are, and their numbers. One of them has to be found.
    entries: BTreeMap<Vec<u8>, Vec<(CString, u64)>>,
    /// Whether all that the container has is read-only.
    pub(super) read_only: bool,
}

impl Covers {
    /// Of a file system in these mounts, of which `own` are those that the container has made itself; `None` if it
    /// has none that the runtime has made.
    pub(super) fn of(kind: FileSystem, lines: &[Line], own: impl Fn(u64) -> bool) -> Option<Self> {
        // Of control groups, a container may be shown a part only.
        let is_whole = |line: &Line| line.root == b"/" || kind == FileSystem::Cgroup2;
        let mounts = || lines.iter().filter(|line| line.kind == kind.name().to_bytes() && is_whole(line));
        let mut entries: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let (mut is_there, mut read_only) = (false, true);
        for mount in mounts() {
            let children = || lines.iter().filter(|line| line.parent == mount.number && !own(line.number));
            // One with processes only is none of the runtime's that a full one could follow, whoever remembers making it.
            let is_theirs = !own(mount.number) && !mount.has_processes_only;
            if is_theirs && !is_hidden(mount, lines, &own) {
                is_there = true;
                read_only &= mount.read_only;
            }
            for child in children() {
                let (Some(entry), Some(path)) = (below(&mount.at, &child.at), child.path()) else { continue };
                entries.entry(entry.to_vec()).or_default().push((path, child.number));
            }
        }
        is_there.then_some(Self { entries, read_only })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Copies of the covers. EPERM if one cannot be found: what it covers must not be seen.
    pub(super) fn copy(&self, namespace: &MountNamespace) -> Result<Vec<Cover>, Failure> {
        self.entries
            .iter()
            .map(|(entry, mounts)| {
                let at = CString::new(entry.as_slice()).map_err(|_| Errno::PERM)?;
                for (path, number) in mounts {
                    if let Some(mount) = namespace.copy_mount(path, *number)? {
                        return Ok(Cover { at, mount });
                    }
                }
                Err(Errno::PERM.into())
            })
            .collect()
    }
}

/// Whether something of another kind lies on the whole of a mount, or on another of its kind that does.
fn is_hidden(mount: &Line, lines: &[Line], own: &impl Fn(u64) -> bool) -> bool {
    let over = |below: &Line| {
        let lies_on =
            |line: &&Line| line.parent == below.number && line.number != below.number && line.at == below.at;
        lines.iter().filter(lies_on).find(|line| !own(line.number))
    };
    let mut top = over(mount);
    while let Some(line) = top {
        if line.kind != mount.kind {
            return true;
        }
        top = over(line);
    }
    false
}

/// What of a path is below a folder.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(folder)?;
    let rest = if folder.ends_with(b"/") { rest } else { rest.strip_prefix(b"/")? };
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::table::parse;

    fn covers(kind: FileSystem, own: &[u64], table: &str) -> Option<(Vec<String>, bool)> {
        let covers = Covers::of(kind, &parse(table.as_bytes()), |number| own.contains(&number))?;
        let show = |(entry, mounts): (&Vec<u8>, &Vec<(CString, u64)>)| {
            let numbers: Vec<_> = mounts.iter().map(|(_, number)| number.to_string()).collect();
            format!("{} by {}", String::from_utf8_lossy(entry), numbers.join(" "))
        };
        Some((covers.entries.iter().map(show).collect(), covers.read_only))
    }

    const CONTAINER: &str = "1 0 0:1 / / rw - overlay o rw\n\
                             2 1 0:2 / /proc rw,nosuid - proc proc rw\n\
                             3 2 0:2 /sys /proc/sys ro - proc proc rw\n\
                             4 2 0:5 /null /proc/kcore rw - devtmpfs d rw\n\
                             5 1 0:6 / /sys ro - sysfs s ro\n\
                             6 5 0:7 / /sys/firmware ro - tmpfs t ro\n\
                             7 3 0:8 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\n\
                             8 1 0:2 /bus /elsewhere rw - proc proc rw\n\
                             9 8 0:9 / /elsewhere/pci rw - tmpfs t rw\n";

    #[test]
    fn what_is_mounted_on_a_whole_one_covers() {
        let proc = covers(FileSystem::Proc, &[], CONTAINER).unwrap();
        assert_eq!(proc, (vec!["kcore by 4".to_owned(), "sys by 3".to_owned()], false));
        let sysfs = covers(FileSystem::Sysfs, &[], CONTAINER).unwrap();
        assert_eq!(sysfs, (vec!["firmware by 6".to_owned()], true));
        assert_eq!(covers(FileSystem::Cgroup2, &[], CONTAINER), None);
    }

    #[test]
    fn what_the_container_has_mounted_itself_neither_counts_nor_covers() {
        let more = format!(
            "{CONTAINER}20 1 0:3 / /mnt rw - proc p rw\n21 20 0:5 /null /mnt/kcore rw - devtmpfs d rw\n\
             22 2 0:9 / /proc/bus rw - tmpfs t rw\n"
        );
        let proc = covers(FileSystem::Proc, &[20, 22], &more).unwrap().0;
        assert_eq!(proc, ["kcore by 4 21", "sys by 3"]);
        let alone = "1 0 0:1 / / rw - overlay o rw\n20 1 0:3 / /mnt rw - proc p rw\n";
        assert_eq!(covers(FileSystem::Proc, &[20], alone), None);
    }

    #[test]
    fn one_with_processes_only_leads_to_no_full_one_even_if_nobody_knows_who_made_it() {
        let forgotten =
            "1 0 0:1 / / rw - overlay o rw\n20 1 0:3 / /mnt rw - proc p rw,hidepid=2,subset=pid\n";
        assert_eq!(covers(FileSystem::Proc, &[], forgotten), None);
    }

    #[test]
    fn one_that_is_hidden_as_a_whole_is_not_there() {
        let hidden = "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - proc p rw\n\
                      3 2 0:3 / /proc ro - tmpfs t rw\n";
        assert_eq!(covers(FileSystem::Proc, &[], hidden), None);
        assert_eq!(covers(FileSystem::Proc, &[3], hidden), Some((Vec::new(), false)));
        let twice = "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - proc p rw\n\
                     3 2 0:3 / /proc rw - proc p rw\n4 3 0:4 / /proc ro - tmpfs t rw\n";
        assert_eq!(covers(FileSystem::Proc, &[], twice), None);
    }
}
