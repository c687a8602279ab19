//! Linux capabilities by name (`capabilities(7)`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities(u64);

/// A word that names no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no capability: they are named as in capabilities(7), and ALL is all of them")]
pub struct UnknownCapability {
    /// The word.
    pub name: String,
}

/// By number (`include/uapi/linux/capability.h`), without the prefix `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// The fourteen that Docker and containerd give a container.
    pub const CONTAINER: Self = Self(0xa804_25fb);
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Self = Self(1 << 21);

    /// None.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// All that have a name.
    pub const fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each capability, as in `/proc/PID/status`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of this set that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether this set has all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One capability, with or without `CAP_`, in upper or lower case; or `ALL`.
impl FromStr for Capabilities {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(Self::all());
        }
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == short);
        number.map(|number| Self(1 << number)).ok_or_else(|| UnknownCapability { name: name.to_owned() })
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (number, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << number) != 0 {
                write!(f, "{separator}CAP_{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_people_write_them() {
        for name in ["CAP_SYS_ADMIN", "SYS_ADMIN", "sys_admin", "cap_sys_admin"] {
            assert_eq!(name.parse(), Ok(Capabilities::SYS_ADMIN), "{name}");
        }
        assert_eq!("all".parse(), Ok(Capabilities::all()));
        assert!("SYS_ADMINN".parse::<Capabilities>().is_err());
    }

    #[test]
    fn a_container_has_the_fourteen_of_docker() {
        assert_eq!(
            Capabilities::CONTAINER.to_string(),
            "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, \
             CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_MKNOD, CAP_AUDIT_WRITE, CAP_SETFCAP"
        );
    }
}
