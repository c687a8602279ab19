//! A file system that does not answer: an ext4 that is frozen (`fsfreeze(8)`).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A frozen ext4 of its own. It thaws when this is dropped, and is gone.
pub(crate) struct Frozen {
    keeper: Child,
    folder: tempfile::TempDir,
}

/// Freezes the file system of the image `$1` at `$2` until its input ends, or for a minute: a test that is killed
/// while one of its threads waits for that file system keeps all its descriptors. A machine that is a container itself
/// may have the loop devices and not their nodes.
const KEEPER: &str = r#"
set -e
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in 0 1 2 3 4 5 6 7; do
    [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number
done
truncate --size 16M "$1"
mkfs.ext4 -q -F "$1"
device=$(losetup --find --show "$1")
trap 'umount --lazy "$2" || :; losetup --detach "$device"' EXIT
mount -t ext4 "$device" "$2"
chmod 777 "$2"
fsfreeze --freeze "$2"
trap 'fsfreeze --unfreeze "$2" || :; umount --lazy "$2" || :; losetup --detach "$device"' EXIT
trap 'exit 1' TERM INT HUP
echo frozen
timeout 60 cat || :
"#;

impl Frozen {
    /// Fails loudly where there are no loop devices or no ext4.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let place = folder.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let mut keeper = Command::new("sh");
        // What a terminal sends to its group must not end it before it has thawed.
        std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
        keeper.args(["-c", KEEPER, "keeper"]).arg(folder.path().join("image")).arg(&place);
        keeper.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let frozen = Self { keeper, folder };
        assert_eq!(line, "frozen\n", "no ext4 can be frozen here; what is above says why");
        frozen
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> PathBuf {
        self.folder.path().join("place")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let ended = self.keeper.wait();
        if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
            // It may have been killed, and nobody could remove what is frozen.
            let _thawed = Command::new("/usr/sbin/fsfreeze").arg("--unfreeze").arg(self.place()).status();
            let _gone = Command::new("/bin/umount").arg("--lazy").arg(self.place()).status();
        }
        if !std::thread::panicking() {
            assert!(ended.unwrap().success(), "it has not thawed");
        }
    }
}
