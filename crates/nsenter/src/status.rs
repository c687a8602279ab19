//! What `/proc/TID/status` says of a task's credentials (`proc_pid_status(5)`): pure, so that it can be fuzzed.

use rustix::fs::{Gid, Mode, Uid};
use rustix::thread::CapabilitySet;

use crate::own::Names;

/// How many bytes of a status are read: 65,536 groups (`NGROUPS_MAX`) of at most 11 bytes, and the rest.
pub(crate) const MAX_STATUS: usize = 1 << 20;

/// What a status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The task's process, in our pid namespace.
    pub(crate) tgid: u32,
    /// What procfs calls process and thread in the task's own pid namespace.
    pub(crate) names: Names,
    pub(crate) credentials: Credentials,
}

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

/// The lines that count.
const FIELDS: [&str; 8] = ["Umask", "Tgid", "Uid", "Gid", "Groups", "NStgid", "NSpid", "CapEff"];

impl Status {
    /// Reads a status. The error is the name of the line that is missing or malformed.
    pub(crate) fn parse(status: &[u8]) -> Result<Self, &'static str> {
        let mut values = [None; FIELDS.len()];
        for line in status.split(|byte| *byte == b'\n') {
            for (name, value) in FIELDS.iter().zip(&mut values) {
                let here = || line.strip_prefix(name.as_bytes())?.strip_prefix(b":");
                if line.first() == name.as_bytes().first() && value.is_none() {
                    *value = here();
                }
            }
        }
        let line = |name: &'static str| {
            let value = FIELDS.iter().position(|field| *field == name).and_then(|index| values[index]);
            value.and_then(|value| std::str::from_utf8(value).ok()).ok_or(name)
        };
        // Real, effective, saved, file system.
        let fourth =
            |name| line(name)?.split_whitespace().nth(3).and_then(|id| id.parse::<u32>().ok()).ok_or(name);
        let umask = u32::from_str_radix(line("Umask")?.trim(), 8).map_err(|_| "Umask")?;
        let groups = line("Groups")?.split_whitespace().map(|group| group.parse().map(Gid::from_raw));
        let effective = u64::from_str_radix(line("CapEff")?.trim(), 16).map_err(|_| "CapEff")?;
        // One number for each pid namespace from ours to the task's.
        let innermost =
            |name| line(name)?.split_whitespace().next_back().and_then(|id| id.parse().ok()).ok_or(name);
        let tgid = line("Tgid")?.trim().parse().map_err(|_| "Tgid")?;
        let names = Names::new(innermost("NStgid")?, innermost("NSpid")?);
        let credentials = Credentials {
            umask: Mode::from_bits_truncate(umask),
            fsuid: Uid::from_raw(fourth("Uid")?),
            fsgid: Gid::from_raw(fourth("Gid")?),
            groups: groups.collect::<Result<_, _>>().map_err(|_| "Groups")?,
            effective: CapabilitySet::from_bits_retain(effective),
        };
        Ok(Self { tgid, names, credentials })
    }
}

/// The `flags` line of a descriptor's `fdinfo` (`proc_pid_fdinfo(5)`).
pub(crate) fn parse_flags(info: &[u8]) -> Option<u32> {
    let flags = info.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    u32::from_str_radix(std::str::from_utf8(flags).ok()?.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_status_makes_parsing_panic(lines in "((Umask|Uid|Tgid|Groups|CapEff|NSpid|x)?:?[\\t0-9a-z \u{e9}]{0,20}\n){0,8}") {
            let _ = Status::parse(lines.as_bytes());
            let _ = parse_flags(lines.as_bytes());
        }

        #[test]
        fn a_name_that_looks_like_lines_changes_nothing(name in "[^\n\0]{0,15}") {
            // procfs escapes line ends in names.
            let status = STATUS.replacen("Uid:\t7 7 7 7", &name, 1);
            prop_assert_eq!(Status::parse(status.as_bytes()), Status::parse(STATUS.as_bytes()));
        }
    }

    const STATUS: &str = "Name:\tUid:\t7 7 7 7\nUmask:\t0027\nTgid:\t50\nUid:\t1\t2\t3\t1000\nGid:\t4\t5\t6\t2000\n\
        FDSize:\t64\nNStgid:\t50\t5\nNSpid:\t70\t7\nGroups:\t10 3000 \nCapEff:\t000001ffffffffff\n";

    #[test]
    fn the_file_system_ids_are_the_fourth() {
        let Status { tgid, names, credentials } = Status::parse(STATUS.as_bytes()).unwrap();
        assert_eq!((tgid, names), (50, Names::new(5, 7)));
        assert_eq!(credentials.umask, Mode::from_bits_retain(0o27));
        assert_eq!((credentials.fsuid.as_raw(), credentials.fsgid.as_raw()), (1000, 2000));
        assert_eq!(credentials.groups, [10, 3000].map(Gid::from_raw));
        assert_eq!(credentials.effective.bits(), 0x1ff_ffff_ffff);
    }

    #[test]
    fn flags_of_descriptors_are_octal() {
        assert_eq!(parse_flags(b"pos:\t0\nflags:\t012100000\nmnt_id:\t9\n"), Some(0o12_100_000));
        assert_eq!(parse_flags(b"pos:\t0\n"), None);
        assert_eq!(parse_flags(b"flags:\t9\n"), None);
    }

    #[test]
    fn a_line_that_is_missing_or_malformed_is_named() {
        for name in ["Umask", "Tgid", "Uid", "Gid", "NStgid", "NSpid", "Groups", "CapEff"] {
            let missing = STATUS.replace(&format!("\n{name}:"), "\nX:");
            assert_eq!(Status::parse(missing.as_bytes()), Err(name));
            let lines = STATUS.lines().map(|line| {
                if line.starts_with(name) { format!("{name}:\tx\n") } else { format!("{line}\n") }
            });
            let malformed: String = lines.collect();
            assert_eq!(Status::parse(malformed.as_bytes()), Err(name));
        }
    }
}
