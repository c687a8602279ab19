//! Callers that are interrupted while their calls are made for them. Needs root and a C compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccomp_agent_handlers::{
    Attributes, Capabilities, Directories, HostFile, Modes, Mount, Nodes, Numbers, Openings, Owners,
};
use seccomp_agent_notify::Features;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_registry::{Call, Handler, Registry, Verdict};
use support::program::compile;
use support::tree::build;

/// How many times each call is made.
const CALLS: usize = 100;

/// How long a call takes at least, half of it before anything is done and half of it after: signals come in between.
const PAUSE: Duration = Duration::from_micros(200);

/// How long the calls of one program may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The calls, and how it shows that one was made twice.
const ALL: [(&str, Twice); 8] = [
    ("mkdirat", Twice::Fails),
    ("mknodat", Twice::Fails),
    ("fchmodat", Twice::Hidden),
    ("fchownat", Twice::Hidden),
    ("setxattr", Twice::Fails),
    ("removexattr", Twice::Fails),
    ("openat", Twice::Leaves),
    ("mount", Twice::Leaves),
];

/// How it shows that a call was made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twice {
    /// The second one fails, with EEXIST or ENODATA.
    Fails,
    /// The first one leaves something behind: a descriptor, or a mount below the second.
    Leaves,
    /// Not at all.
    Hidden,
}

/// One call, made again and again.
struct Bed<'a> {
    root: tempfile::TempDir,
    program: &'a Path,
    call: &'static str,
    /// How many calls the agent has received.
    received: Arc<AtomicUsize>,
}

/// The program that makes the calls.
fn program() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = compile("interrupted", folder.path());
    (folder, program)
}

impl<'a> Bed<'a> {
    fn new(program: &'a Path, call: &'static str) -> Self {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        build(root.path());
        for name in ["own", "granted"] {
            fs::write(root.path().join("w/mine").join(name), name).unwrap();
            std::os::unix::fs::chown(root.path().join("w/mine").join(name), Some(1000), Some(1000)).unwrap();
        }
        Self { root, program, call, received: Arc::default() }
    }

    /// Where the program runs.
    fn folder(&self) -> PathBuf {
        self.root.path().join("w/mine")
    }

    fn handler(&self) -> Box<dyn Handler> {
        match self.call {
            "mkdirat" => Box::new(Directories::new()),
            "mknodat" => Box::new(Nodes::granting(vec![])),
            "fchmodat" => Box::new(Modes::granting(Capabilities::empty())),
            "fchownat" => Box::new(Owners::granting(Numbers::none(), Numbers::all())),
            "mount" => Box::new(Mount::procfs()),
            "openat" => {
                let path = CString::new(self.folder().join("granted").as_os_str().as_bytes()).unwrap();
                let granted = HostFile { path: path.clone(), host: path, read_only: false };
                Box::new(Openings::granting(vec![granted]).unwrap())
            }
            _ => Box::new(Attributes::granting([""; 0])),
        }
    }

    /// The call's handler, slowed down.
    fn registry(&self) -> Registry {
        let (handler, received) = (self.handler(), Arc::clone(&self.received));
        let mut registry = Registry::new();
        registry
            .on(self.call, move |call: &Call<'_>| {
                received.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
                let verdict = handler.handle(call);
                if verdict != Verdict::Continue {
                    std::thread::sleep(PAUSE);
                }
                verdict
            })
            .unwrap();
        registry
    }

    /// What becomes of the program that makes the calls and gets signals of its own, and `disturb`'s.
    fn run(
        &self,
        flags: Flags,
        signals: &'static str,
        disturb: impl Fn(Pid, &AtomicUsize) + Send + 'static,
    ) -> Report {
        let (program, call, here) = (self.program.to_owned(), self.call, self.folder());
        let received = Arc::clone(&self.received);
        let uid = if call == "mount" { 0 } else { 1000 };
        let transform = move || {
            if call == "mount" {
                support::unshare_namespaces();
                remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN).unwrap();
            }
        };
        let body = move || {
            let mut command = Command::new(program);
            command.args([call, &CALLS.to_string(), signals]).current_dir(here).uid(uid).gid(uid);
            let child = command.stdout(Stdio::piped()).spawn().unwrap();
            disturb(Pid::from_raw(child.id().cast_signed()), &received);
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        let said = support::run_flagged(Some(self.registry()), Features::probe(), flags, transform, body);
        Report::parse(&said)
    }

    /// That everything which is there now is whole: the caller's, as it has asked for it. Gives how much it is.
    fn assert_whole(&self) -> usize {
        let made = fs::read_dir(self.folder()).unwrap().map(Result::unwrap);
        let made = made.filter(|entry| entry.file_name().to_string_lossy().starts_with("made-"));
        let count = made
            .inspect(|entry| {
                let meta = entry.metadata().unwrap();
                let (owner, permissions) = if self.call == "mount" { (0, 0o755) } else { (1000, 0o751) };
                assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (owner, owner, permissions));
                assert_eq!(meta.file_type().is_fifo(), self.call == "mknodat");
            })
            .count();
        let own = self.folder().join("own");
        let meta = fs::metadata(&own).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7700), (1000, 0o600));
        assert!([1000, 2000].contains(&(meta.gid() / 1000 * 1000)), "{}", meta.gid());
        let mut value = vec![0; 2000];
        if let Ok(len) = rustix::fs::getxattr(&own, "user.x", &mut value[..]) {
            assert_eq!(value[..len], [b'v'; 1000]);
        }
        count
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// Calls that have succeeded.
    made: usize,
    /// Calls that found that they had been made.
    twice: usize,
    /// What was left behind by calls of which the program does not know.
    left: usize,
    interrupted: usize,
    /// Errors of any other kind, and calls that have succeeded and were not made.
    other: usize,
    signals: usize,
}

impl Report {
    /// What the program says; nothing if it has been killed.
    fn parse(said: &str) -> Self {
        let number = |name: &str| {
            let mut words = said.split_whitespace().skip_while(|word| *word != name);
            words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        Self {
            made: number("made"),
            twice: number("twice"),
            left: number("left"),
            interrupted: number("interrupted"),
            other: number("other"),
            signals: number("signals"),
        }
    }
}

/// A filter that lets every signal interrupt a received call, and one that lets only fatal ones.
fn filters() -> impl Iterator<Item = (Flags, bool)> {
    let all = [(Flags::empty(), false), (Flags::WAIT_KILLABLE_RECV, true)];
    all.into_iter().filter(|(_, once)| !once || Features::probe().wait_killable_recv)
}

fn stop_and_continue(pid: Pid, received: &AtomicUsize) {
    let start = Instant::now();
    while received.load(Ordering::Relaxed) < CALLS && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
        // The program may have ended.
        let _ = kill(pid, Signal::SIGSTOP);
        std::thread::sleep(Duration::from_micros(300));
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Where signals can interrupt a call that the agent has received, it is made again: that shows as it must, and
/// nothing else does. Where they cannot, each call is made once.
fn every_call_is_made(signals: &'static str, disturb: fn(Pid, &AtomicUsize)) {
    let (_folder, program) = program();
    for (call, shows) in ALL {
        for (flags, once) in filters() {
            let bed = Bed::new(&program, call);
            let report = bed.run(flags, signals, disturb);
            let said = format!("{call}, {flags:?}: {report:?}");
            assert_eq!((report.made + report.twice, report.other), (CALLS, 0), "{said}");
            let made = bed.assert_whole();
            assert_eq!(
                made,
                if ["mkdirat", "mknodat", "mount"].contains(&call) { CALLS } else { 0 },
                "{said}"
            );
            let (fails, leaves) = (shows == Twice::Fails && !once, shows == Twice::Leaves && !once);
            // A mount is taken away again but for a moment at its end, which few signals meet.
            let left = report.left > 0 || leaves && call == "mount";
            assert_eq!((report.twice > 0, left), (fails, leaves), "{said}");
        }
    }
}

#[test]
fn a_signal_with_a_handler_that_restarts_calls_loses_none() {
    every_call_is_made("restart", |_, _| ());
}

#[test]
fn a_signal_with_a_handler_that_fails_calls_loses_none() {
    every_call_is_made("fail", |_, _| ());
}

#[test]
fn stopping_and_continuing_a_caller_loses_no_call() {
    every_call_is_made("none", stop_and_continue);
}

#[test]
fn what_a_killed_caller_leaves_is_whole() {
    let (_folder, program) = program();
    for (call, _) in ALL {
        for (flags, _) in filters() {
            let mut some = 0;
            for round in 0..8 {
                let bed = Bed::new(&program, call);
                let report = bed.run(flags, "none", move |pid, received| {
                    let start = Instant::now();
                    // The first may be the C library's.
                    while received.load(Ordering::Relaxed) < 2 && start.elapsed() < PATIENCE {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    std::thread::sleep(PAUSE * round / 3);
                    kill(pid, Signal::SIGKILL).unwrap();
                });
                assert_eq!(report, Report::default(), "{call}: it was too late");
                some += bed.assert_whole();
            }
            let leaves_some = ["mkdirat", "mknodat", "mount"].contains(&call);
            assert_eq!(some > 0, leaves_some, "{call}: {some}");
        }
    }
}

#[test]
fn what_is_mounted_for_the_killed_goes_with_their_namespace() {
    let mounts = |root: &Path| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(root.to_str().unwrap())).count()
    };
    let (_folder, program) = program();
    let bed = Bed::new(&program, "mount");
    let _killed = bed.run(Flags::empty(), "none", |pid, received| {
        let start = Instant::now();
        while received.load(Ordering::Relaxed) < 5 && start.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
        }
        kill(pid, Signal::SIGKILL).unwrap();
    });
    assert_eq!(mounts(bed.root.path()), 0);
}
