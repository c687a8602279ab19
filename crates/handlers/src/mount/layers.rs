//! The directories that an overlay is made of.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FsWord, fstatfs};
use rustix::mount::{MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_string};
use seccomp_agent_nsenter::{AT_FDCWD, Capabilities, Extent, Scene, Target, lock_tree};
use seccomp_agent_registry::{Call, Errno};

use super::file_system::{MountOption, attributes_of, split};
use super::mounter::Mounter;
use crate::emulate::Failure;

/// They are looked up before the overlay is made, as the caller: the kernel would look them up for the thread that
/// acts, by whatever leads to the agent's own entries in procfs as well.
pub(super) struct Layers {
    found: Vec<(&'static Key, OwnedFd)>,
    /// Whether the kernel takes them as descriptors.
    by_descriptor: bool,
    /// What they are called among our own descriptors: each option, and its value.
    named: Vec<(&'static CStr, CString)>,
    /// What one of their mounts is not to do, the overlay does not: nosuid, nodev, noexec.
    pub(super) forced: MountAttrFlags,
}

/// An option that names some.
struct Key {
    name: &'static CStr,
    /// What it is called where it is given as a descriptor (Linux 6.15).
    of_descriptor: &'static CStr,
}

const KEYS: [Key; 3] = [
    Key { name: c"lowerdir", of_descriptor: c"lowerdir+" },
    Key { name: c"upperdir", of_descriptor: c"upperdir" },
    Key { name: c"workdir", of_descriptor: c"workdir" },
];

/// How many directories are looked up: as many as the kernel takes (`OVL_MAX_STACK`), and the two that are written
/// to.
const MAX_LAYERS: usize = 502;

/// The file system of devices and kernel objects (`statfs(2)`).
const SYSFS_MAGIC: FsWord = 0x6265_6572;

impl Layers {
    /// Whether an option names some.
    pub(super) fn has(option: &MountOption) -> bool {
        key(option).is_some()
    }

    /// Finds them. EINVAL for one with mounts below: without those it would show what they cover.
    pub(super) fn find(call: &Call<'_>, mounter: &Mounter, options: &[MountOption]) -> Result<Self, Failure> {
        let mut targets: Vec<(&Key, Target)> = Vec::new();
        for option in options {
            let Some(key) = key(option) else { continue };
            for path in paths(option)? {
                targets.push((key, mounter.caller.target(AT_FDCWD, &path, AtFlags::empty())?));
            }
        }
        if targets.len() > MAX_LAYERS {
            return Err(Errno::INVAL.into());
        }
        let mut found = Vec::with_capacity(targets.len());
        mounter.caller.act(
            || call.is_valid(),
            Capabilities::empty(),
            |scene| {
                for (key, target) in &targets {
                    found.push((*key, scene.open(target)?));
                }
                Ok(())
            },
        )?;
        let mut forced = MountAttrFlags::empty();
        for (_, layer) in &found {
            if fstatfs(layer)?.f_type == SYSFS_MAGIC {
                return Err(Errno::INVAL.into());
            }
            forced |= attributes_of(layer)? - MountAttrFlags::MOUNT_ATTR_RDONLY;
            lock_tree(mounter.namespace.copy_tree(layer)?, &[], Extent::Mount)?;
        }
        let (by_descriptor, named) = (call.features().overlay_descriptors, named(&found)?);
        Ok(Self { found, by_descriptor, named, forced })
    }

    /// While acting: makes the overlay of them.
    pub(super) fn create(&self, scene: &Scene<'_>, context: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.by_descriptor {
            let all = self.found.iter();
            all.into_iter()
                .try_for_each(|(key, layer)| fsconfig_set_fd(context, key.of_descriptor, layer))?;
            return fsconfig_create(context);
        }
        // Some look them up when they are told of them, others when it is made.
        scene.among_descriptors(|| {
            self.named.iter().try_for_each(|(name, value)| fsconfig_set_string(context, *name, value))?;
            fsconfig_create(context)
        })
    }
}

/// What layers are called in the folder of our own descriptors.
fn named(layers: &[(&'static Key, OwnedFd)]) -> Result<Vec<(&'static CStr, CString)>, Errno> {
    let value = |name: &CStr| {
        let those = layers.iter().filter(|(key, _)| key.name == name);
        let numbers: Vec<_> = those.map(|(_, layer)| layer.as_raw_fd().to_string()).collect();
        CString::new(numbers.join(":")).map_err(|_| Errno::INVAL)
    };
    let all = KEYS.iter().map(|key| Ok((key.name, value(key.name)?)));
    all.filter(|named| named.as_ref().map_or(true, |(_, value)| !value.is_empty())).collect()
}

fn key(option: &MountOption) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == option.key.as_c_str())
}

/// The paths of an option: of lower directories, several with colons between. A backslash quotes what follows.
fn paths(option: &MountOption) -> Result<Vec<CString>, Errno> {
    let value = option.value.as_ref().ok_or(Errno::INVAL)?.to_bytes();
    let is_list = option.key.as_c_str() == c"lowerdir";
    let one = |quoted: &[u8]| {
        let mut bytes = quoted.iter();
        let mut path = Vec::with_capacity(quoted.len());
        while let Some(byte) = bytes.next() {
            // Only the parts of a list are quoted.
            path.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
        }
        // Data-only layers, which are parted by two colons, are not known here.
        if path.is_empty() { Err(Errno::INVAL) } else { CString::new(path).map_err(|_| Errno::INVAL) }
    };
    if is_list { split(value, b':', true).map(one).collect() } else { Ok(vec![one(value)?]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_layers_are_taken_apart() {
        let parted =
            |key: &CStr, value: &CStr| paths(&MountOption { key: key.into(), value: Some(value.into()) });
        let lowers = vec![CString::from(c"a"), c"b:c".into(), c"/d".into()];
        assert_eq!(parted(c"lowerdir", cr"a:b\:c:/d"), Ok(lowers));
        assert_eq!(parted(c"upperdir", c"a:b"), Ok(vec![c"a:b".into()]));
        assert_eq!(parted(c"upperdir", cr"a\,b"), Ok(vec![c"a,b".into()]));
        for refused in [c"", c"a::b", c":a", c"a:"] {
            assert_eq!(parted(c"lowerdir", refused), Err(Errno::INVAL), "{refused:?}");
        }
    }
}
