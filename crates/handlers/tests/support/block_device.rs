//! Block devices to mount from: loop devices with an ext4.

use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, Uid, chmodat, chownat, mknodat, stat};
use seccomp_agent_handlers::{Devices, Numbers};

/// A loop device with an ext4 of its own, detached when this is dropped.
pub(crate) struct BlockDevice {
    name: String,
    _folder: tempfile::TempDir,
}

/// Makes an ext4 of what is in the folder `$1/content`. A machine that is a container itself may have the loop devices
/// and not their nodes, and several tests may make those at once. What it says of itself is that errors stop the machine.
const MAKE: &str = r#"
set -e
node() { [ -e $1 ] || mknod "$@" || [ -e $1 ]; }
node /dev/loop-control c 10 237
for number in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    node /dev/loop$number b 7 $number
done
mkdir "$1/content"
echo "$2" > "$1/content/name"
echo > "$1/content/program"
chmod 4755 "$1/content/program"
mknod -m 666 "$1/content/null" c 1 3
chmod 777 "$1/content"
truncate --size 16M "$1/image"
mkfs.ext4 -q -F -e panic -d "$1/content" "$1/image"
losetup --find --show "$1/image"
"#;

impl BlockDevice {
    /// One with a file `name` that says this, a device `null`, and a set-user-ID `program`. Fails loudly where there
    /// are no loop devices or no ext4.
    pub(crate) fn new(content: &str) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut make = Command::new("sh");
        make.args(["-c", MAKE, "make"]).arg(folder.path()).arg(content);
        let output = make.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        assert!(output.status.success(), "no ext4 on a loop device can be made here: {output:?}");
        Self { name: String::from_utf8(output.stdout).unwrap().trim().to_owned(), _folder: folder }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        stat(self.name.as_str()).unwrap().st_rdev
    }

    /// What lists it and no other.
    pub(crate) fn listed(&self) -> Vec<Devices> {
        let one = |number| Numbers::from_iter([number..=number]);
        let (major, minor) = (rustix::fs::major(self.number()), rustix::fs::minor(self.number()));
        vec![Devices { is_block: true, major: one(major), minor: one(minor) }]
    }

    /// Makes a node of it.
    pub(crate) fn node(&self, at: &Path, owner: u32, mode: u32) {
        mknodat(CWD, at, FileType::BlockDevice, Mode::empty(), self.number()).unwrap();
        chownat(CWD, at, Some(Uid::from_raw(owner)), None, rustix::fs::AtFlags::empty()).unwrap();
        chmodat(CWD, at, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty()).unwrap();
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        let detached = Command::new("/usr/sbin/losetup").arg("--detach").arg(&self.name).status();
        if !std::thread::panicking() {
            assert!(detached.unwrap().success(), "{} stays", self.name);
        }
    }
}
