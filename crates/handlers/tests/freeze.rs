//! Containers that are frozen by a call. Needs root and a hierarchy of cgroups with a freezer.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use seccomp_agent_handlers::Freeze;
use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Features, Syscall};
use seccomp_agent_registry::{Errno, Registry};

/// How each hierarchy freezes: the file to write to, the file to look at, what it says, and how to thaw.
type Freezer = (&'static str, &'static str, &'static str, &'static str, &'static str);

const FREEZERS: [Freezer; 2] = [
    ("cgroup2", "cgroup.freeze", "cgroup.events", "frozen 1", "0"),
    ("freezer", "freezer.state", "freezer.state", "FROZEN", "THAWED"),
];

/// Where a hierarchy is mounted, by the end of its line in mountinfo.
fn hierarchy(kind: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| {
        let (_, kind_and_options) = line.split_once(" - ").unwrap();
        kind_and_options.starts_with("cgroup") && kind_and_options.split([' ', ',']).any(|word| word == kind)
    })?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// A cgroup of this test's own.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(hierarchy: &Path) -> Self {
        let path = hierarchy.join(format!("seccomp-agent-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its tasks may still be leaving.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The system call by which busybox makes directories.
const MKDIR: &str = if cfg!(target_arch = "x86_64") { "mkdir" } else { "mkdirat" };

/// Runs a script whose `mkdir`s `registry` answers, under a filter with these flags.
fn run(registry: &Registry, flags: Flags, script: String) -> Output {
    let (send, receive) = channel();
    let caller = std::thread::spawn(move || {
        let calls = [Syscall::named(Arch::native(), MKDIR).unwrap()];
        send.send(filter::install(&filter::notifying(&calls), flags).unwrap()).unwrap();
        Command::new("/bin/busybox").args(["sh", "-c", &script]).output().unwrap()
    });
    support::serve(receive.recv().unwrap(), registry, Features::probe());
    caller.join().unwrap()
}

#[test]
fn a_container_is_frozen_and_when_it_is_thawed_the_call_fails() {
    let found: Vec<_> =
        FREEZERS.iter().filter_map(|freezer| Some((freezer, hierarchy(freezer.0)?))).collect();
    assert!(!found.is_empty(), "no cgroups are mounted");
    // One interrupts the call to freeze it, so that it is made again; with the other it waits for its answer.
    for flags in [Flags::empty(), Flags::WAIT_KILLABLE_RECV].into_iter().filter(|flags| filter::knows(*flags))
    {
        for (freezer, hierarchy) in &found {
            freeze_and_thaw(freezer, hierarchy, flags);
        }
    }
}

fn freeze_and_thaw(freezer: &'static Freezer, hierarchy: &Path, flags: Flags) {
    let (kind, switch, state, frozen, thaw) = *freezer;
    let cgroup = Cgroup::new(hierarchy);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mut registry = Registry::new();
    registry.on(MKDIR, Freeze::failing_with(Errno::NOSPC)).unwrap();
    let script = format!(
        "echo 0 > {join}/cgroup.procs; cd {here}; : > before; mkdir new 2> said; echo $? >> said; : > after",
        join = cgroup.0.display(),
        here = folder.path().display(),
    );
    let (here, path) = (folder.path().to_owned(), cgroup.0.clone());
    let watcher = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(10);
        let said = || fs::read_to_string(path.join(state)).unwrap();
        while !said().lines().any(|line| line == frozen) {
            assert!(Instant::now() < deadline, "{kind} is not frozen: {}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        // The agent has given its answer, or found the call interrupted.
        std::thread::sleep(Duration::from_millis(700));
        let was = (here.join("before").exists(), here.join("after").exists(), here.join("new").exists());
        fs::write(path.join(switch), thaw).unwrap();
        was
    });
    let ran = run(&registry, flags, script);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&b""[..], &b""[..]), "{kind}");
    assert_eq!(watcher.join().unwrap(), (true, false, false), "{kind}");
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    assert!(said.contains("No space left") && said.ends_with("1\n"), "{kind}: {said}");
    assert!(folder.path().join("after").exists() && !folder.path().join("new").exists(), "{kind}");
}

#[test]
fn where_the_agent_is_nothing_is_frozen_and_the_call_fails() {
    let mut registry = Registry::new();
    registry.on("mkdirat", Freeze::failing_with(Errno::ACCESS)).unwrap();
    let said = support::run(
        Some(registry),
        || (),
        || rustix::fs::mkdirat(rustix::fs::CWD, "/tmp/never", rustix::fs::Mode::RWXU),
    );
    assert_eq!(said, Err(Errno::ACCESS));
}
