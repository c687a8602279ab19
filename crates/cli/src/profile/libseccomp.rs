use std::fmt;
use std::str::FromStr;

/// A version of libseccomp that can load notify filters (2.5.0 or later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    minor: u16,
    patch: u16,
}

/// The calls that a version of libseccomp was the first to know, by the tables of its releases: `src/syscalls.csv` at the
/// tags v2.5.0 to v2.6.1 of <https://github.com/seccomp/libseccomp>. Whatever is not here, 2.5.0 knows; no version ever
/// forgot a call. 2.5.6 is a day younger than 2.6.0 and knows the same.
const ADDED: &[(Version, &[&str])] = &[
    (
        Version::of(5, 2),
        &[
            "close_range",
            "epoll_pwait2",
            "landlock_add_rule",
            "landlock_create_ruleset",
            "landlock_restrict_self",
            "memfd_secret",
            "mount_setattr",
            "process_madvise",
            "quotactl_fd",
        ],
    ),
    (Version::of(5, 3), &["process_mrelease"]),
    (Version::of(5, 4), &["futex_waitv", "set_mempolicy_home_node"]),
    (
        Version::of(5, 5),
        &["cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "map_shadow_stack"],
    ),
    (
        Version::of(5, 6),
        &[
            "getxattrat",
            "listmount",
            "listxattrat",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mseal",
            "removexattrat",
            "riscv_hwprobe",
            "setxattrat",
            "statmount",
            "uretprobe",
        ],
    ),
    (
        Version::of(6, 1),
        &["file_getattr", "file_setattr", "listns", "open_tree_attr", "rseq_slice_yield", "uprobe"],
    ),
];

impl Version {
    const fn of(minor: u16, patch: u16) -> Self {
        Self { minor, patch }
    }

    /// Whether this version knows a call by name.
    pub(crate) fn knows(self, name: &str) -> bool {
        added().find(|(_, call)| *call == name).is_none_or(|(version, _)| version <= self)
    }
}

/// Calls that not every version knows, each with the first that does, the oldest version first.
pub(crate) fn added() -> impl Iterator<Item = (Version, &'static str)> {
    ADDED.iter().flat_map(|(version, names)| names.iter().map(|name| (*version, *name)))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}.{}", self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version of libseccomp such as 2.5.4; notifying takes 2.5.0");
        let numbers: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
        match numbers.map_err(|_| wrong())?[..] {
            [2, minor, patch] if minor >= 5 => Ok(Self { minor, patch }),
            [2, minor] if minor >= 5 => Ok(Self { minor, patch: 0 }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_is_there_once_and_versions_are_in_order() {
        let names: BTreeSet<_> = added().map(|(_, name)| name).collect();
        assert_eq!(names.len(), added().count());
        assert!(ADDED.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn a_version_knows_what_it_and_those_before_it_added() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        for (text, name, knows) in [
            ("2.5.0", "openat", true),
            ("2.5.1", "close_range", false),
            ("2.5.4", "close_range", true),
            ("2.5.4", "futex_waitv", true),
            ("2.5.4", "fchmodat2", false),
            ("2.5.5", "fchmodat2", true),
            ("2.6", "mseal", true),
            ("2.6.0", "listns", false),
            ("2.7.0", "listns", true),
        ] {
            assert_eq!(version(text).knows(name), knows, "{name} in {text}");
        }
    }

    #[test]
    fn versions_without_notification_are_none() {
        for text in ["2.4.4", "1.0", "2", "2.5.x", "", "2.5.4.1", "v2.5.4"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
