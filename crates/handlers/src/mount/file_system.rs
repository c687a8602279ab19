use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::mount::{MountAttrFlags, MountFlags};
use seccomp_agent_nsenter::NamespaceKind;
use seccomp_agent_registry::Errno;

use super::mounter::Mounter;
use crate::nodes::Devices;

/// A file system that can be mounted for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystem {
    /// The procfs of the caller's pid namespace.
    Proc,
    /// The sysfs of the caller's network namespace.
    Sysfs,
    /// A new file system in memory.
    Tmpfs,
    /// A file system made of directories of the caller's.
    Overlay,
    /// New pseudoterminals.
    Devpts,
    /// The message queues of the caller's ipc namespace.
    Mqueue,
    /// The control groups of the caller's cgroup namespace.
    Cgroup2,
    /// What is on a block device that is listed, as are those below: ext4, ext3 or ext2.
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
}

/// A file system that is granted, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystemGrant {
    /// Which.
    pub kind: FileSystem,
    /// The options that may be given, by their names; all that are known if `None`.
    pub options: Option<Vec<String>>,
    /// What is not forced.
    pub allow: Allowed,
    /// The block devices that it may be on, for those that are on one: none if empty.
    pub devices: Vec<Devices>,
    /// Whether callers without `CAP_SYS_ADMIN` in their own user namespace are left to the kernel, which refuses them.
    pub needs_sys_admin: bool,
}

/// What a mount may do that it does not do unless this says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Have programs with set-user-ID bits and capabilities.
    pub suid: bool,
    /// Have device nodes that can be opened.
    pub dev: bool,
    /// Have programs: of interest for what shows the kernel's own, all others may.
    pub exec: bool,
}

/// An option as it is given, vetted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountOption {
    pub(super) key: CString,
    pub(super) value: Option<CString>,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Proc,
        Self::Sysfs,
        Self::Tmpfs,
        Self::Overlay,
        Self::Devpts,
        Self::Mqueue,
        Self::Cgroup2,
        Self::Ext4,
        Self::Xfs,
        Self::Vfat,
        Self::Iso9660,
        Self::Squashfs,
        Self::Erofs,
        Self::Fuse,
    ];

    /// What the kernel calls it.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Proc => c"proc",
            Self::Sysfs => c"sysfs",
            Self::Tmpfs => c"tmpfs",
            Self::Overlay => c"overlay",
            Self::Devpts => c"devpts",
            Self::Mqueue => c"mqueue",
            Self::Cgroup2 => c"cgroup2",
            Self::Ext4 => c"ext4",
            Self::Xfs => c"xfs",
            Self::Vfat => c"vfat",
            Self::Iso9660 => c"iso9660",
            Self::Squashfs => c"squashfs",
            Self::Erofs => c"erofs",
            Self::Fuse => c"fuse",
        }
    }

    /// The options that can be granted. What would name a namespace, a file or a device other than the caller's, change
    /// what others share, stop the machine or load a module is not among them.
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Proc => &["hidepid", "gid", "subset"],
            Self::Sysfs | Self::Mqueue | Self::Cgroup2 | Self::Squashfs => &[],
            Self::Tmpfs => &["size", "mode", "nr_blocks", "nr_inodes", "uid", "gid", "inode32", "inode64"],
            Self::Overlay => &["lowerdir", "upperdir", "workdir", "userxattr", "volatile", "index", "xino"],
            Self::Devpts => &["mode", "ptmxmode", "uid", "gid", "max", "newinstance"],
            Self::Ext4 => &[
                "errors",
                "data",
                "commit",
                "barrier",
                "nobarrier",
                "discard",
                "nodiscard",
                "delalloc",
                "nodelalloc",
                "noload",
                "norecovery",
                "acl",
                "noacl",
                "grpid",
                "nogrpid",
            ],
            Self::Xfs => &["norecovery", "nouuid", "inode32", "inode64", "discard", "nodiscard"],
            Self::Vfat => &["uid", "gid", "umask", "dmask", "fmask", "shortname", "utf8", "quiet", "flush"],
            Self::Iso9660 => &["uid", "gid", "mode", "dmode", "norock", "nojoliet"],
            Self::Erofs => &["user_xattr", "nouser_xattr", "acl", "noacl"],
            Self::Fuse => &[
                "fd",
                "rootmode",
                "user_id",
                "group_id",
                "default_permissions",
                "allow_other",
                "max_read",
                "subtype",
            ],
        }
    }

    /// Those of its options that it cannot be mounted without: they can be given whatever is listed.
    const fn needed_options(self) -> &'static [&'static str] {
        match self {
            Self::Fuse => &["fd", "rootmode", "user_id", "group_id"],
            _ => &[],
        }
    }

    /// The namespace of the caller that what it shows depends on, and whose owner its mounts belong to; of a procfs it
    /// is that of pids.
    pub(super) const fn namespace(self) -> Option<NamespaceKind> {
        match self {
            Self::Sysfs => Some(NamespaceKind::Network),
            Self::Mqueue => Some(NamespaceKind::Ipc),
            Self::Cgroup2 => Some(NamespaceKind::Cgroup),
            Self::Overlay => Some(NamespaceKind::Mount),
            _ => None,
        }
    }

    /// Whether its mounts belong to the user namespace that owns the namespace they show, and not to that of whoever
    /// makes them.
    pub(super) const fn is_of_a_namespace(self) -> bool {
        matches!(self, Self::Proc | Self::Sysfs | Self::Mqueue | Self::Cgroup2)
    }

    /// Whether what it is on is a block device, which has to be listed.
    pub const fn is_on_a_device(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs | Self::Vfat | Self::Iso9660 | Self::Squashfs | Self::Erofs)
    }

    /// Whether each mount is a file system of its own, or of a device of its own: one that is changed changes for
    /// nobody else.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::Proc | Self::Tmpfs | Self::Overlay | Self::Devpts | Self::Fuse)
            || self.is_on_a_device()
    }

    /// Whether it is not made step by step, by `fsopen(2)`: its layers, its device or who answers for it are looked up
    /// all at once, before it is made.
    pub(super) const fn is_by_mount_only(self) -> bool {
        matches!(self, Self::Overlay | Self::Fuse) || self.is_on_a_device()
    }

    /// Whether a user namespace that may mount it may not where a part of the one that it sees is covered
    /// (`mount_too_revealing()` of the kernel).
    pub(super) const fn has_to_be_visible(self) -> bool {
        matches!(self, Self::Proc | Self::Sysfs)
    }

    /// Whether it shows what is the kernel's, and a container may have parts of it covered.
    pub(super) const fn is_of_the_kernel(self) -> bool {
        matches!(self, Self::Proc | Self::Sysfs | Self::Cgroup2)
    }

    /// Attributes that each of its mounts has.
    pub(super) fn forced(self, allow: Allowed) -> MountAttrFlags {
        let mut forced = MountAttrFlags::empty();
        let has_programs = matches!(self, Self::Tmpfs | Self::Overlay | Self::Fuse) || self.is_on_a_device();
        forced.set(MountAttrFlags::MOUNT_ATTR_NOSUID, !allow.suid);
        // Its devices are what a devpts is for.
        forced.set(MountAttrFlags::MOUNT_ATTR_NODEV, !allow.dev && self != Self::Devpts);
        forced.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, !allow.exec && !has_programs);
        forced
    }

    /// Of this name, as `mount(2)` has it: that of FUSE may say whose it is (`fuse.sshfs`).
    pub(super) fn named(name: &CStr) -> Option<Self> {
        let (family, subtype) = parted(name);
        let kind = Self::ALL.into_iter().find(|kind| kind.name().to_bytes() == family)?;
        (subtype.is_none() || kind == Self::Fuse).then_some(kind)
    }
}

impl From<FileSystem> for FileSystemGrant {
    /// With all options, everything forced, and no device.
    fn from(kind: FileSystem) -> Self {
        Self { kind, options: None, allow: Allowed::default(), devices: Vec::new(), needs_sys_admin: false }
    }
}

impl FileSystemGrant {
    /// Whether it has something to say to a caller; the kernel has to all others.
    pub(super) fn is_for(&self, mounter: &Mounter) -> bool {
        if self.kind.is_on_a_device() && self.devices.is_empty() {
            return false;
        }
        // What is on a device nobody mounts in a user namespace of its own.
        let is_refused = self.kind.has_to_be_visible() || self.kind.is_on_a_device();
        if mounter.is_capable { is_refused } else { !self.needs_sys_admin }
    }

    /// Takes `key=value,flag` apart. EINVAL for what the file system does not know or may not be told, EPERM for what
    /// would stop the machine.
    pub(super) fn vet(&self, options: &CStr) -> Result<Vec<MountOption>, Errno> {
        let is_overlay = self.kind == FileSystem::Overlay;
        let given = split(options.to_bytes(), b',', is_overlay);
        given.filter(|option| !option.is_empty()).map(|option| self.vet_one(option)).collect()
    }

    /// [`vet`](Self::vet) of one option.
    pub(super) fn vet_one(&self, option: &[u8]) -> Result<MountOption, Errno> {
        let equals = option.iter().position(|byte| *byte == b'=');
        let (key, value) = equals.map_or((option, None), |at| (&option[..at], Some(&option[at + 1..])));
        let name = std::str::from_utf8(key).map_err(|_| Errno::INVAL)?;
        let is_listed = self.options.as_ref().is_none_or(|listed| listed.iter().any(|one| one == name))
            || self.kind.needed_options().contains(&name);
        if !is_listed || !self.kind.options().contains(&name) {
            return Err(Errno::INVAL);
        }
        if self.kind.is_on_a_device() && name == "errors" && value == Some(b"panic") {
            return Err(Errno::PERM);
        }
        let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::INVAL);
        Ok(MountOption { key: string(key)?, value: value.map(string).transpose()? })
    }
}

/// A file system's name, and what `mount(2)` has behind the first dot of it.
pub(super) fn parted(name: &CStr) -> (&[u8], Option<&[u8]>) {
    let name = name.to_bytes();
    let dot = name.iter().position(|byte| *byte == b'.');
    dot.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])))
}

/// Parts `text` at a separator; where backslashes quote, not at one behind a backslash.
pub(super) fn split(text: &[u8], separator: u8, quotes: bool) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    text.split(move |byte| {
        let parts = *byte == separator && !is_quoted;
        is_quoted = quotes && *byte == b'\\' && !is_quoted;
        parts
    })
}

/// The attributes that flags of `mount(2)` ask for.
pub(super) fn attributes(asked: MountFlags) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MountFlags::NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ] {
        attributes.set(attribute, asked.contains(flag));
    }
    // One of three; strict wins over none, and relative is what nobody asks for.
    if asked.contains(MountFlags::STRICTATIME) {
        attributes | MountAttrFlags::MOUNT_ATTR_STRICTATIME
    } else if asked.contains(MountFlags::NOATIME) {
        attributes | MountAttrFlags::MOUNT_ATTR_NOATIME
    } else {
        attributes
    }
}

/// The attributes of a file's mount that keep it from things: what is made of it keeps them.
pub(super) fn attributes_of(file: impl AsFd) -> Result<MountAttrFlags, Errno> {
    let flags = fstatvfs(file)?.f_flag;
    let mut attributes = MountAttrFlags::empty();
    for (flag, attribute) in [
        (StatVfsMountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (StatVfsMountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (StatVfsMountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (StatVfsMountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ] {
        attributes.set(attribute, flags.contains(flag));
    }
    Ok(attributes)
}

/// The flags that a file system as a whole has, by their names as options.
pub(super) fn whole_flags(asked: MountFlags) -> impl Iterator<Item = &'static CStr> {
    let flags = [
        (MountFlags::RDONLY, c"ro"),
        (MountFlags::SYNCHRONOUS, c"sync"),
        (MountFlags::DIRSYNC, c"dirsync"),
        (MountFlags::LAZYTIME, c"lazytime"),
    ];
    flags.into_iter().filter(move |(flag, _)| asked.contains(*flag)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vetted(kind: FileSystem, options: &CStr) -> Result<Vec<String>, Errno> {
        let show = |option: &MountOption| {
            let value = option.value.as_ref().map(|value| format!("={}", value.to_str().unwrap()));
            format!("{}{}", option.key.to_str().unwrap(), value.unwrap_or_default())
        };
        Ok(FileSystemGrant::from(kind).vet(options)?.iter().map(show).collect())
    }

    #[test]
    fn known_options_are_taken_and_no_others() {
        let two = vec!["hidepid=2".to_owned(), "gid=5".to_owned()];
        assert_eq!(vetted(FileSystem::Proc, c"hidepid=2,gid=5"), Ok(two));
        assert_eq!(vetted(FileSystem::Proc, c""), Ok(Vec::new()));
        assert_eq!(vetted(FileSystem::Proc, c"subset=pid,"), Ok(vec!["subset=pid".to_owned()]));
        for refused in [c"pidns=/proc/1/ns/pid", c"size=1", c"=1", c"source=x", c"ro"] {
            assert_eq!(vetted(FileSystem::Proc, refused), Err(Errno::INVAL), "{refused:?}");
        }
        let escaped = vec![r"lowerdir=a\,b:c".to_owned(), "volatile".to_owned()];
        assert_eq!(vetted(FileSystem::Overlay, cr"lowerdir=a\,b:c,volatile"), Ok(escaped));
        assert_eq!(vetted(FileSystem::Overlay, c"metacopy=on"), Err(Errno::INVAL));
    }

    #[test]
    fn options_that_are_not_listed_are_refused() {
        let grant = FileSystemGrant {
            options: Some(vec!["size".to_owned()]),
            ..FileSystemGrant::from(FileSystem::Tmpfs)
        };
        assert!(grant.vet(c"size=1m").is_ok());
        assert_eq!(grant.vet(c"size=1m,mode=1777"), Err(Errno::INVAL));
    }

    #[test]
    fn what_a_file_system_needs_can_be_given_whatever_is_listed() {
        let grant = FileSystemGrant { options: Some(vec![]), ..FileSystemGrant::from(FileSystem::Fuse) };
        assert!(grant.vet(c"fd=3,rootmode=40000,user_id=0,group_id=0").is_ok());
        assert_eq!(grant.vet(c"allow_other"), Err(Errno::INVAL));
        assert_eq!(grant.vet(c"blksize=512"), Err(Errno::INVAL));
    }

    #[test]
    fn only_fuse_has_subtypes() {
        for (name, kind) in [
            (c"fuse", Some(FileSystem::Fuse)),
            (c"fuse.sshfs", Some(FileSystem::Fuse)),
            (c"fuse.", Some(FileSystem::Fuse)),
            (c"fuseblk", None),
            (c"proc.x", None),
            (c"tmpfs", Some(FileSystem::Tmpfs)),
        ] {
            assert_eq!(FileSystem::named(name), kind, "{name:?}");
        }
    }

    #[test]
    fn the_kernels_own_run_no_programs_whatever_was_asked() {
        let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let none = Allowed::default();
        assert_eq!(FileSystem::Proc.forced(none), nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC);
        assert_eq!(FileSystem::Tmpfs.forced(none), nosuid);
        let all = Allowed { suid: true, dev: true, exec: true };
        assert_eq!(FileSystem::Proc.forced(all), MountAttrFlags::empty());
        let both = MountFlags::NOATIME | MountFlags::STRICTATIME;
        assert_eq!(attributes(both), MountAttrFlags::MOUNT_ATTR_STRICTATIME);
    }
}
