//! Callers in a user namespace of their own. A thread of this process cannot join one, so a test starts itself again
//! as a program that does.

use std::fs::{self, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use rustix::thread::CapabilitySet;
use seccomp_agent_registry::Registry;

use super::tree::{Kind, kind, listing};

/// The first of our ids that the namespaces map, to 0.
pub(crate) const FIRST: u32 = 100_000;

/// How many they map.
const COUNT: u32 = 65_536;

/// Keeps a user namespace.
pub(crate) struct Keeps(Child);

impl Drop for Keeps {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Keeps {
    /// A new user namespace.
    pub(crate) fn new() -> Self {
        let keeps = Self(Command::new("unshare").args(["--user", "sleep", "600"]).spawn().unwrap());
        let ours = fs::read_link("/proc/self/ns/user").unwrap();
        let entry = |entry: &str| format!("/proc/{}/{entry}", keeps.0.id());
        while fs::read_link(entry("ns/user")).unwrap() == ours {
            std::thread::sleep(Duration::from_millis(1));
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(entry(map), format!("0 {FIRST} {COUNT}\n")).unwrap();
        }
        keeps
    }

    /// What executes the program that its arguments go on with as the namespace's root.
    pub(crate) fn enter(&self) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["--user", "--setuid", "0", "--setgid", "0", "--target", &self.0.id().to_string()]);
        enter
    }
}

/// Gives everything in a tree to the users whose numbers in a namespace are those of the owners now.
pub(crate) fn give(root: &Path) {
    for (path, (mode, user, group, ..)) in listing(root) {
        let path = root.join(path);
        if user >= FIRST {
            continue;
        }
        let (user, group) = (Some(Uid::from_raw(FIRST + user)), Some(Gid::from_raw(FIRST + group)));
        chownat(CWD, &path, user, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        if !path.is_symlink() {
            // A new owner takes set-user-ID and set-group-ID bits.
            set_permissions(&path, PermissionsExt::from_mode(mode & 0o7777)).unwrap();
        }
    }
}

/// A copy of this program that every user may execute.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    test: &'static str,
}

/// Tells the program what it is to be: the tree's root, the kind's name and its capabilities.
const ROLE: [&str; 3] = ["INSIDE_ROOT", "INSIDE_KIND", "INSIDE_CAPABILITIES"];

/// What begins each line of [`tell`].
const SAID: &str = "said: ";

impl Program {
    /// The one of the test of this name, which must call [`role`] before anything else.
    pub(crate) fn of(test: &'static str) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // Not by this process: what it starts meanwhile would keep the program open for writing.
        let mut copy = Command::new("cp");
        copy.arg(std::env::current_exe().unwrap()).arg(folder.path().join("program"));
        assert!(copy.status().unwrap().success());
        Self { folder, test }
    }

    /// Runs it in a new user namespace as a caller of this kind in the tree at `root`, where `registry` answers;
    /// gives what it [told](tell). `prepare` is run first, outside, on the thread that starts it.
    pub(crate) fn run(
        &self,
        registry: Option<Registry>,
        root: &Path,
        kind: &Kind,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Vec<String> {
        let capabilities = kind.capabilities.bits().to_string();
        let role = [root.to_str().unwrap().to_owned(), kind.name.to_owned(), capabilities];
        let (program, test) = (self.folder.path().join("program"), self.test);
        let said = super::run(registry, prepare, move || {
            let keeps = Keeps::new();
            let mut run = keeps.enter();
            run.arg(program).args(["--exact", test, "--nocapture"]).envs(ROLE.into_iter().zip(role));
            run.current_dir("/").stdin(Stdio::null()).output().unwrap()
        });
        let output = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success(), "{test}: {output}{}", String::from_utf8_lossy(&said.stderr));
        let lines: Vec<_> = output.lines().filter_map(|line| line.split_once(SAID)).collect();
        assert!(!lines.is_empty(), "{test} has said nothing: {output}");
        lines.into_iter().map(|(_, line)| line.to_owned()).collect()
    }
}

/// The tree and the kind of caller of this process, if [`Program::run`] has started it.
pub(crate) fn role() -> Option<(PathBuf, Kind)> {
    let [root, name, capabilities] = ROLE.map(|name| std::env::var(name).ok());
    let capabilities = CapabilitySet::from_bits_retain(capabilities?.parse().unwrap());
    Some((root?.into(), Kind { capabilities, ..kind(&name?) }))
}

/// Lets [`Program::run`] know of this.
#[allow(clippy::print_stdout)] // It is how one process tells another.
pub(crate) fn tell<T: std::fmt::Debug>(said: &[T]) {
    // After what the test harness has begun its line with.
    println!();
    for said in said {
        println!("{SAID}{said:?}");
    }
}
