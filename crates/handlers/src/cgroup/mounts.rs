use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::cgroup::Hierarchy;
use crate::cgroup::places::is_within;

/// Where a hierarchy is mounted: which cgroup, and on which directory.
pub(super) struct Mounts(Vec<(Vec<u8>, PathBuf)>);

impl Mounts {
    /// From lines of `/proc/self/mountinfo`; `None` where it is not mounted.
    pub(super) fn of(mountinfo: &[u8], hierarchy: Hierarchy) -> Option<Self> {
        let found = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let dash = fields.iter().position(|field| *field == b"-")?;
            let is_it = match (hierarchy, *fields.get(dash + 1)?) {
                (Hierarchy::Unified, b"cgroup2") => true,
                (Hierarchy::Of(controller), b"cgroup") => {
                    let options = *fields.get(dash + 3)?;
                    options.split(|byte| *byte == b',').any(|option| option == controller.as_bytes())
                }
                _ => false,
            };
            let point = std::ffi::OsString::from_vec(unescaped(fields.get(4)?));
            is_it.then(|| (unescaped(fields[3]), PathBuf::from(point)))
        });
        let found: Vec<_> = found.collect();
        (!found.is_empty()).then_some(Self(found))
    }

    /// The directories of a cgroup.
    pub(super) fn find(&self, path: &[u8]) -> impl Iterator<Item = PathBuf> {
        self.0.iter().filter_map(|(root, point)| {
            if !is_within(path, root) {
                return None;
            }
            let root = root.strip_suffix(b"/").unwrap_or(root);
            let below = path[root.len()..].strip_prefix(b"/").unwrap_or_default();
            if below.split(|byte| *byte == b'/').any(|name| name == b"..") {
                return None;
            }
            Some(point.join(std::ffi::OsString::from_vec(below.to_vec())))
        })
    }
}

/// Spaces and the like are three octal digits behind a backslash (`proc_pid_mountinfo(5)`).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &others[3..];
            }
            _ => {
                plain.push(*first);
                rest = others;
            }
        }
    }
    plain
}
