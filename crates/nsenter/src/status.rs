//! What `/proc/TID/status` says of a task's credentials (`proc_pid_status(5)`): pure, so that it can be fuzzed.

use rustix::fs::{Gid, Mode, Uid};
use rustix::thread::CapabilitySet;

/// How many bytes of a status are read: 65,536 groups (`NGROUPS_MAX`) of at most 11 bytes, and the rest.
pub(crate) const MAX_STATUS: usize = 1 << 20;

/// A task's credentials, as far as they decide what it may do to files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Which permissions new files do not get.
    pub umask: Mode,
    /// The user that file permissions are checked for.
    pub fsuid: Uid,
    /// The group that file permissions are checked for.
    pub fsgid: Gid,
    /// The supplementary groups.
    pub groups: Vec<Gid>,
    /// The capabilities in effect, in the task's own user namespace.
    pub effective: CapabilitySet,
}

impl Credentials {
    /// Reads them out of a status. The error is the name of the line that is missing or malformed.
    pub fn parse(status: &[u8]) -> Result<Self, &'static str> {
        let line = |name: &'static str| {
            let mut lines = status.split(|byte| *byte == b'\n');
            let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"));
            value.and_then(|value| std::str::from_utf8(value).ok()).ok_or(name)
        };
        // Real, effective, saved, file system.
        let fourth =
            |name| line(name)?.split_whitespace().nth(3).and_then(|id| id.parse::<u32>().ok()).ok_or(name);
        let umask = u32::from_str_radix(line("Umask")?.trim(), 8).map_err(|_| "Umask")?;
        let groups = line("Groups")?.split_whitespace().map(|group| group.parse().map(Gid::from_raw));
        let effective = u64::from_str_radix(line("CapEff")?.trim(), 16).map_err(|_| "CapEff")?;
        Ok(Self {
            umask: Mode::from_bits_truncate(umask),
            fsuid: Uid::from_raw(fourth("Uid")?),
            fsgid: Gid::from_raw(fourth("Gid")?),
            groups: groups.collect::<Result<_, _>>().map_err(|_| "Groups")?,
            effective: CapabilitySet::from_bits_retain(effective),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tUid:\t7 7 7 7\nUmask:\t0027\nTgid:\t5\nUid:\t1\t2\t3\t1000\nGid:\t4\t5\t6\t2000\n\
        FDSize:\t64\nGroups:\t10 3000 \nCapEff:\t000001ffffffffff\n";

    #[test]
    fn the_file_system_ids_are_the_fourth() {
        let credentials = Credentials::parse(STATUS.as_bytes()).unwrap();
        assert_eq!(credentials.umask, Mode::from_bits_retain(0o27));
        assert_eq!((credentials.fsuid.as_raw(), credentials.fsgid.as_raw()), (1000, 2000));
        assert_eq!(credentials.groups, [10, 3000].map(Gid::from_raw));
        assert_eq!(credentials.effective.bits(), 0x1ff_ffff_ffff);
    }

    #[test]
    fn a_line_that_is_missing_or_malformed_is_named() {
        for name in ["Umask", "Uid", "Gid", "Groups", "CapEff"] {
            let missing = STATUS.replace(&format!("\n{name}:"), "\nX:");
            assert_eq!(Credentials::parse(missing.as_bytes()), Err(name));
            let malformed = STATUS.replace(&format!("\n{name}:\t"), &format!("\n{name}:\tx x x x"));
            assert_eq!(Credentials::parse(malformed.as_bytes()), Err(name));
        }
    }
}
