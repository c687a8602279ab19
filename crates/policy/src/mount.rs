//! What can be mounted.

use std::fmt;

use seccomp_agent_handlers::{Allowed, Devices, FileSystem, FileSystemGrant, Mount};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::near::hint;
use crate::numbers::DeviceNodes;

/// A file system that can be mounted, or another kind of mount: its name, or a file system with what is special about
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "MountForm"))]
pub(crate) enum MountGrant {
    FileSystem(FileSystemGrant),
    Bind,
    Propagation,
}

/// What can be mounted, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum Name {
    /// The procfs of the caller's pid namespace.
    Proc,
    /// The sysfs of the caller's network namespace.
    Sysfs,
    /// A new file system in memory.
    Tmpfs,
    /// A file system made of directories that the caller can reach.
    Overlay,
    /// New pseudoterminals.
    Devpts,
    /// The message queues of the caller's ipc namespace.
    Mqueue,
    /// The control groups of the caller's cgroup namespace.
    Cgroup2,
    /// ext4, ext3 or ext2, on a listed device; as are those below.
    Ext4,
    /// XFS.
    Xfs,
    /// FAT, with long names.
    Vfat,
    /// That of optical media.
    Iso9660,
    /// A compressed one that is read-only.
    Squashfs,
    /// Another one.
    Erofs,
    /// What a program of the container's answers for, by the `/dev/fuse` that it has opened.
    Fuse,
    /// What the caller can reach, in another place.
    Bind,
    /// private, slave and unbindable, of mounts that were made so.
    Propagation,
}

/// A file system, and how it can be mounted.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Detailed {
    /// Which.
    #[serde(rename = "type")]
    kind: Name,
    /// The options that can be given; if left out, all that the agent knows.
    options: Option<Vec<String>>,
    /// What it may do that it may not otherwise.
    #[serde(default)]
    allow: Vec<Allow>,
    /// The block devices that it may be on, as in the device cgroup: `b 7:*`. For those that are on one, which have to
    /// have them listed.
    #[serde(default)]
    devices: Vec<DeviceNodes>,
    /// Whether the caller must have `CAP_SYS_ADMIN` in its own user namespace; others fail with EPERM.
    #[serde(default, rename = "need-cap-sys-admin")]
    needs_sys_admin: bool,
}

/// What a mount may not do unless it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum Allow {
    /// Set-user-ID programs and those with capabilities.
    Suid,
    /// Device nodes that can be opened.
    Dev,
    /// Programs, on what shows the kernel's own.
    Exec,
}

/// What [`MountGrant`] looks like to the schema.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)] // Only its shape is of use.
enum MountForm {
    Name(Name),
    Detailed(Detailed),
}

impl MountGrant {
    /// The file system of this name, as `mount(2)` knows it. None that is on a device: only a policy lists those.
    pub(crate) fn file_system(name: &str) -> Result<Self, String> {
        let kinds = || FileSystem::ALL.into_iter().filter(|kind| !kind.is_on_a_device());
        let kind = kinds().find(|kind| kind.name().to_bytes() == name.as_bytes());
        let unknown = || {
            let names: Vec<_> = kinds().map(|kind| kind.name().to_string_lossy()).collect();
            format!("{name:?} is no file system that can be granted; there are {}", names.join(", "))
        };
        kind.map(|kind| Self::FileSystem(kind.into())).ok_or_else(unknown)
    }

    /// Whether it grants a file system of the same kind.
    pub(crate) fn is_kind_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::FileSystem(one), Self::FileSystem(other)) => one.kind == other.kind,
            _ => self == other,
        }
    }

    /// Leaves it to callers that have `CAP_SYS_ADMIN` in their own user namespace; whether it was for others too.
    pub(crate) const fn restrict(&mut self) -> bool {
        match self {
            Self::FileSystem(grant) => !std::mem::replace(&mut grant.needs_sys_admin, true),
            Self::Bind | Self::Propagation => false,
        }
    }

    /// The handler of what is granted.
    pub(crate) fn handler(grants: &[Self]) -> Mount {
        let file_systems = grants.iter().filter_map(|grant| match grant {
            Self::FileSystem(grant) => Some(grant.clone()),
            Self::Bind | Self::Propagation => None,
        });
        let mount = Mount::granting(file_systems);
        let mount = if grants.contains(&Self::Bind) { mount.with_binds() } else { mount };
        if grants.contains(&Self::Propagation) { mount.with_propagation() } else { mount }
    }
}

impl fmt::Display for MountGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::FileSystem(FileSystemGrant { kind, options, allow, devices, needs_sys_admin }) = self
        else {
            return f.write_str(if *self == Self::Bind { "bind" } else { "propagation" });
        };
        f.write_str(&kind.name().to_string_lossy())?;
        if !devices.is_empty() {
            let devices: Vec<_> = devices.iter().map(Devices::to_string).collect();
            write!(f, " on {}", devices.join(" "))?;
        }
        if let Some(options) = options {
            write!(f, " with options {}", options.join(" "))?;
        }
        for (is_allowed, name) in [(allow.suid, "suid"), (allow.dev, "dev"), (allow.exec, "exec")] {
            if is_allowed {
                write!(f, " {name}")?;
            }
        }
        if *needs_sys_admin {
            f.write_str(" for callers with CAP_SYS_ADMIN")?;
        }
        Ok(())
    }
}

impl Name {
    const fn file_system(self) -> Option<FileSystem> {
        match self {
            Self::Proc => Some(FileSystem::Proc),
            Self::Sysfs => Some(FileSystem::Sysfs),
            Self::Tmpfs => Some(FileSystem::Tmpfs),
            Self::Overlay => Some(FileSystem::Overlay),
            Self::Devpts => Some(FileSystem::Devpts),
            Self::Mqueue => Some(FileSystem::Mqueue),
            Self::Cgroup2 => Some(FileSystem::Cgroup2),
            Self::Ext4 => Some(FileSystem::Ext4),
            Self::Xfs => Some(FileSystem::Xfs),
            Self::Vfat => Some(FileSystem::Vfat),
            Self::Iso9660 => Some(FileSystem::Iso9660),
            Self::Squashfs => Some(FileSystem::Squashfs),
            Self::Erofs => Some(FileSystem::Erofs),
            Self::Fuse => Some(FileSystem::Fuse),
            Self::Bind | Self::Propagation => None,
        }
    }
}

impl TryFrom<Name> for MountGrant {
    type Error = String;

    fn try_from(name: Name) -> Result<Self, String> {
        match name.file_system() {
            Some(kind) => {
                check_devices(kind, &[])?;
                Ok(Self::FileSystem(kind.into()))
            }
            None if name == Name::Bind => Ok(Self::Bind),
            None => Ok(Self::Propagation),
        }
    }
}

/// Those that are on a device have block devices listed, and no others have any.
fn check_devices(kind: FileSystem, devices: &[DeviceNodes]) -> Result<(), String> {
    let name = kind.name().to_string_lossy();
    match devices.iter().find(|device| !device.devices.is_block) {
        _ if !kind.is_on_a_device() && !devices.is_empty() => Err(format!("{name} is on no device")),
        Some(device) => Err(format!("{:?} is no block device", device.text)),
        None if kind.is_on_a_device() && devices.is_empty() => Err(format!(
            "{name} needs the devices that it may be on: {{type: {name}, devices: [b 7:*]}} for loop devices"
        )),
        None => Ok(()),
    }
}

impl TryFrom<Detailed> for MountGrant {
    type Error = String;

    fn try_from(detailed: Detailed) -> Result<Self, String> {
        let kind = detailed.kind.file_system();
        let kind = kind.ok_or("bind and propagation are no file systems: they are listed by their names")?;
        check_devices(kind, &detailed.devices)?;
        for option in detailed.options.iter().flatten() {
            if !kind.options().contains(&option.as_str()) {
                let near = hint(option, kind.options().iter().copied());
                return Err(format!(
                    "{option:?} is no option of {} that can be granted{near}",
                    kind.name().to_string_lossy()
                ));
            }
        }
        let has = |allow| detailed.allow.contains(&allow);
        let allow = Allowed { suid: has(Allow::Suid), dev: has(Allow::Dev), exec: has(Allow::Exec) };
        Ok(Self::FileSystem(FileSystemGrant {
            kind,
            options: detailed.options,
            allow,
            devices: detailed.devices.into_iter().map(|listed| listed.devices).collect(),
            needs_sys_admin: detailed.needs_sys_admin,
        }))
    }
}

impl<'de> Deserialize<'de> for MountGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = MountGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name such as tmpfs, or a type with options")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<MountGrant, E> {
                let name = Name::deserialize(StrDeserializer::new(name))?;
                MountGrant::try_from(name).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MountGrant, A::Error> {
                let detailed = Detailed::deserialize(MapAccessDeserializer::new(map))?;
                MountGrant::try_from(detailed).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
