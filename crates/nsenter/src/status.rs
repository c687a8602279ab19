//! What `/proc/TID/status` says of a task's credentials (`proc_pid_status(5)`): pure, so that it can be fuzzed.

use std::num::ParseIntError;

use memchr::memchr;
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

/// The lines that count, in the order in which the kernel writes them (`fs/proc/array.c`).
const FIELDS: [&str; 8] = ["Umask", "Tgid", "Uid", "Gid", "Groups", "NStgid", "NSpid", "CapEff"];

impl Status {
    /// Reads a status. The error is the name of the line that is missing or malformed.
    pub(crate) fn parse(status: &[u8]) -> Result<Self, &'static str> {
        let [umask, tgid, uid, gid, groups, ns_tgid, ns_pid, effective] = lines(status)?;
        let id = |field, digits| number(field, digits, str::parse::<u32>);
        // Real, effective, saved, file system.
        let fourth = |field, ids| id(field, words(ids).nth(3));
        // One number for each pid namespace from ours to the task's.
        let innermost = |field, ids| id(field, words(ids).last());
        let umask = number("Umask", words(umask).next(), |octal| u32::from_str_radix(octal, 8))?;
        let effective = number("CapEff", words(effective).next(), |hex| u64::from_str_radix(hex, 16))?;
        let groups = words(groups).map(|group| id("Groups", Some(group)).map(Gid::from_raw));
        let credentials = Credentials {
            umask: Mode::from_bits_truncate(umask),
            fsuid: Uid::from_raw(fourth("Uid", uid)?),
            fsgid: Gid::from_raw(fourth("Gid", gid)?),
            groups: groups.collect::<Result<_, _>>()?,
            effective: CapabilitySet::from_bits_retain(effective),
        };
        let names = Names::new(innermost("NStgid", ns_tgid)?, innermost("NSpid", ns_pid)?);
        Ok(Self { tgid: id("Tgid", words(tgid).next())?, names, credentials })
    }
}

/// What the lines that count say, each looked for behind the one before.
fn lines(status: &[u8]) -> Result<[&[u8]; FIELDS.len()], &'static str> {
    let mut values = [&[][..]; FIELDS.len()];
    let mut rest = status;
    for (field, value) in FIELDS.into_iter().zip(&mut values) {
        *value = loop {
            let end = memchr(b'\n', rest).ok_or(field)?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if let Some(value) = line.strip_prefix(field.as_bytes()).and_then(|line| line.strip_prefix(b":"))
            {
                break value;
            }
        };
    }
    Ok(values)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number<T>(
    field: &'static str,
    digits: Option<&[u8]>,
    parse: impl FnOnce(&str) -> Result<T, ParseIntError>,
) -> Result<T, &'static str> {
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(field)?;
    parse(digits).map_err(|_| field)
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
        FDSize:\t64\nGroups:\t10 3000 \nNStgid:\t50\t5\nNSpid:\t70\t7\nCapEff:\t000001ffffffffff\n";

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
