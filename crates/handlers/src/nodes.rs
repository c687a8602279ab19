use std::ffi::CString;
use std::fmt;

use rustix::fs::{FileType, makedev};
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, EntryPath};
use seccomp_agent_registry::{Call, Errno, Handler, Verdict};

use crate::arguments::{Numbers, listed, permissions};
use crate::emulate::{Failure, emulate_for};
use crate::host_nodes::{HostNodes, Wanted};
use crate::openings::RelativePath;

/// `mknod(2)` and `mknodat(2)`, made as the caller.
///
/// **Grants** `CAP_MKNOD` for the devices that are listed. FIFOs, sockets, regular files and whiteouts
/// (character device 0, 0) take no grant: the kernel makes them for anybody.
///
/// **Cannot know** what the container's device cgroup says about making the node: the agent's own decides, so it
/// must let the agent make what is listed. The container's still says who may open it. On a file system that is mounted nodev the node is
/// made and cannot be opened, as natively. For a caller in a user namespace of its own, where nobody can make
/// devices, a listed one is made with nothing but the grant: it is the caller's user's, and the capabilities that
/// the caller has in its namespace count for the way to the directory, not for what is in it.
///
/// **Binding.** [`binding`](Self::binding) helps there: where a listed device's node could not be opened (nodev), the
/// kernel does not make it (EPERM), or the caller is in another user namespace, an empty file is made as the caller,
/// and the host's own node is mounted on it. That one has the owner and the mode that it has on the host, whatever the
/// caller asks for; the mount is nosuid, noexec, private and read-only, whatever the one below is: the device can be written to,
/// and its owner and mode cannot be changed, since they are the host's. To be removed, the node has to
/// be unmounted first. A container has 64 at most (then ENOSPC).
#[derive(Debug, Default)]
pub struct Nodes {
    devices: Vec<Devices>,
    host_nodes: HostNodes,
}

/// Devices that an administrator lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Block devices rather than character devices.
    pub is_block: bool,
    /// Major numbers.
    pub major: Numbers,
    /// Minor numbers.
    pub minor: Numbers,
}

impl fmt::Display for Devices {
    /// As in the device cgroup.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", if self.is_block { 'b' } else { 'c' }, self.major, self.minor)
    }
}

impl Devices {
    /// Whether a device is one of them.
    pub(crate) fn has(&self, is_block: bool, major: u32, minor: u32) -> bool {
        self.is_block == is_block && self.major.contains(major) && self.minor.contains(minor)
    }
}

impl Nodes {
    /// Grants these devices.
    pub const fn granting(devices: Vec<Devices>) -> Self {
        Self { devices, host_nodes: HostNodes::at(Vec::new()) }
    }

    /// Binds those of the granted devices of which these absolute paths are the host's nodes, where their own could
    /// not be opened. No component of a path may be a symbolic link. What is found there counts, when it is needed: a
    /// path that is no node of the device is passed over.
    pub fn binding(self, paths: Vec<CString>) -> Result<Self, RelativePath> {
        match paths.iter().find(|path| !path.to_bytes().starts_with(b"/")) {
            Some(path) => Err(RelativePath { path: path.clone() }),
            None => Ok(Self { host_nodes: HostNodes::at(paths), ..self }),
        }
    }

    fn make(&self, call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
        let (dirfd, path, mode, device) = match call.syscall().name() {
            Some("mknod") => (AT_FDCWD, call.arg(0), call.arg(1), call.arg(2)),
            _ => (call.int_arg(0), call.arg(1), call.arg(2), call.arg(3)),
        };
        // Before the path is looked at, as in the kernel.
        let kind = kind(mode)?;
        let (major, minor) = device_numbers(device);
        let path = call.memory().path(path)?;
        let is_listed = self.lists(kind, major, minor);
        call.note(|noted| {
            let mode = permissions(mode).as_raw_mode();
            noted.path(&path).asks(format_args!("type={} mode={mode:04o}", letter(kind)));
            if let FileType::CharacterDevice | FileType::BlockDevice = kind {
                noted.asks(format_args!("device={major}:{minor}")).because(listed(is_listed));
            }
        });
        let wanted = Wanted {
            base: caller.base(dirfd, &path)?,
            entry: EntryPath::new(&path),
            kind,
            permissions: permissions(mode),
            device: makedev(major, minor),
        };
        let node = if is_listed { self.host_nodes.find(kind, wanted.device) } else { None };
        match node {
            Some(node) => self.host_nodes.make(call, caller, &wanted, &node)?,
            None if is_listed => {
                caller.act_outside(
                    || call.is_valid(),
                    Capabilities::MKNOD,
                    |scene| wanted.place(scene),
                    |_, place| wanted.make_at(&place),
                )?;
            }
            None => {
                caller.act(|| call.is_valid(), Capabilities::empty(), |scene| wanted.make(scene))?;
            }
        }
        Ok(Verdict::Return(0))
    }

    fn lists(&self, kind: FileType, major: u32, minor: u32) -> bool {
        let is_block = match kind {
            FileType::BlockDevice => true,
            FileType::CharacterDevice => false,
            _ => return false,
        };
        self.devices.iter().any(|listed| listed.has(is_block, major, minor))
    }
}

impl Handler for Nodes {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        emulate_for(call, |call, caller| self.make(call, caller))
    }

    fn name(&self) -> &'static str {
        "nodes"
    }
}

/// What is to be made. A type of zero is a regular file; there are other calls for directories and links.
#[allow(clippy::cast_possible_truncation)] // As the kernel does: `umode_t` is an `unsigned short`.
fn kind(mode: u64) -> Result<FileType, Errno> {
    let mode = u32::from(mode as u16);
    match FileType::from_raw_mode(mode) {
        _ if mode & TYPE == 0 => Ok(FileType::RegularFile),
        FileType::Directory => Err(Errno::PERM),
        FileType::Symlink | FileType::Unknown => Err(Errno::INVAL),
        kind => Ok(kind),
    }
}

/// What `mknod(1)` calls a type.
const fn letter(kind: FileType) -> char {
    match kind {
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        _ => 'f',
    }
}

/// The bits of a mode that are the type (`S_IFMT`).
const TYPE: u32 = 0o170_000;

/// Major and minor number in a device argument, of which the kernel looks at 32 bits.
const fn device_numbers(device: u64) -> (u32, u32) {
    #[allow(clippy::cast_possible_truncation)]
    let device = device as u32;
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_taken_apart_as_the_kernel_does() {
        for (major, minor) in [(0, 0), (1, 3), (4095, 255), (259, 256), (8, 0xf_ffff)] {
            assert_eq!(device_numbers(makedev(major, minor)), (major, minor));
        }
    }

    #[test]
    fn types_that_are_not_made_so_are_refused() {
        for (mode, expected) in [
            (0o644, Ok(FileType::RegularFile)),
            (0o100_644, Ok(FileType::RegularFile)),
            (0o010_000, Ok(FileType::Fifo)),
            (0o020_000, Ok(FileType::CharacterDevice)),
            (0o060_000, Ok(FileType::BlockDevice)),
            (0o140_000, Ok(FileType::Socket)),
            (0o040_755, Err(Errno::PERM)),
            (0o120_777, Err(Errno::INVAL)),
            (0o170_000, Err(Errno::INVAL)),
            (0x1_0000, Ok(FileType::RegularFile)),
        ] {
            assert_eq!(kind(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn only_listed_devices_are_granted() {
        let null = Devices {
            is_block: false,
            major: [1..=1].into_iter().collect(),
            minor: [3..=3, 5..=9].into_iter().collect(),
        };
        let nodes = Nodes::granting(vec![null]);
        for (kind, major, minor, listed) in [
            (FileType::CharacterDevice, 1, 3, true),
            (FileType::CharacterDevice, 1, 5, true),
            (FileType::CharacterDevice, 1, 4, false),
            (FileType::CharacterDevice, 2, 3, false),
            (FileType::BlockDevice, 1, 3, false),
            (FileType::Fifo, 1, 3, false),
        ] {
            assert_eq!(nodes.lists(kind, major, minor), listed, "{kind:?} {major} {minor}");
        }
        assert_eq!(nodes.devices[0].to_string(), "c 1:3,5-9");
        assert!(!Nodes::default().lists(FileType::CharacterDevice, 1, 3));
    }
}
