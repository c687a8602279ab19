//! Callers that are interrupted while their calls are made for them. Needs root, busybox and a C compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccomp_agent_handlers::Directories;
use seccomp_agent_notify::Features;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_registry::{Call, Handler, Registry};
use support::program::compile;
use support::tree::build;

const CALLS: usize = 400;

/// How long a call takes, half of it before anything is done and half of it after: signals come in between.
const PAUSE: Duration = Duration::from_micros(200);

fn slowly() -> Registry {
    let directories = Directories::new();
    let mut registry = Registry::new();
    registry
        .on("mkdirat", move |call: &Call<'_>| {
            std::thread::sleep(PAUSE);
            let verdict = directories.handle(call);
            std::thread::sleep(PAUSE);
            verdict
        })
        .unwrap();
    registry
}

/// What becomes of a program that makes directories in `root` and gets signals of its own, and `disturb`'s.
fn run(root: &Path, flags: Flags, signals: &'static str, disturb: fn(Pid)) -> Report {
    build(root);
    let (program, here) = (compile("interrupted", root), root.join("w/real"));
    let said = support::run_flagged(
        Some(slowly()),
        Features::probe(),
        flags,
        || (),
        move || {
            let mut command = Command::new(program);
            command.arg(CALLS.to_string()).arg(signals).current_dir(here).uid(1000).gid(1000);
            let child = command.stdout(Stdio::piped()).spawn().unwrap();
            disturb(Pid::from_raw(child.id().cast_signed()));
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        },
    );
    Report::parse(&said)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    made: usize,
    exists: usize,
    interrupted: usize,
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
            exists: number("exists"),
            interrupted: number("interrupted"),
            other: number("other"),
            signals: number("signals"),
        }
    }
}

/// How many directories there are. Each is whole: the caller's, with the mode that it asked for.
fn whole_directories(root: &Path) -> usize {
    let made = fs::read_dir(root.join("w/real")).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    made.inspect(|made| assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1000, 0o751)))
        .count()
}

fn stop_and_continue(pid: Pid) {
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(1));
        // The program may have ended.
        let _ = kill(pid, Signal::SIGSTOP);
        std::thread::sleep(Duration::from_micros(300));
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Where signals can interrupt a call that the agent has received, it is made again: that shows, and nothing else
/// does. Where they cannot, each call is made once.
fn every_call_is_made(signals: &'static str, disturb: fn(Pid)) {
    for (flags, once) in [(Flags::empty(), false), (Flags::WAIT_KILLABLE_RECV, true)] {
        if once && !Features::probe().wait_killable_recv {
            continue;
        }
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let report = run(root.path(), flags, signals, disturb);
        assert_eq!(whole_directories(root.path()), CALLS, "{report:?}");
        assert_eq!((report.made + report.exists, report.other), (CALLS, 0), "{report:?}");
        if once {
            assert_eq!(report.exists, 0, "made twice: {report:?}");
        } else {
            assert!(report.exists > 0, "nothing was interrupted after it had been done: {report:?}");
        }
    }
}

#[test]
fn a_signal_with_a_handler_that_restarts_calls_loses_none() {
    every_call_is_made("restart", |_| ());
}

#[test]
fn a_signal_with_a_handler_that_fails_calls_loses_none() {
    every_call_is_made("fail", |_| ());
}

#[test]
fn stopping_and_continuing_a_caller_loses_no_call() {
    every_call_is_made("none", stop_and_continue);
}

#[test]
fn what_a_killed_caller_leaves_is_whole() {
    static ROUND: AtomicU32 = AtomicU32::new(0);
    for flags in [Flags::empty(), Flags::WAIT_KILLABLE_RECV] {
        if flags != Flags::empty() && !Features::probe().wait_killable_recv {
            continue;
        }
        let mut some = 0;
        for _ in 0..20 {
            let root = tempfile::tempdir_in("/tmp").unwrap();
            let report = run(root.path(), flags, "none", |pid| {
                let round = ROUND.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(3000 + u64::from(round % 20) * 137));
                kill(pid, Signal::SIGKILL).unwrap();
            });
            assert_eq!(report, Report::default(), "it was too late");
            some += whole_directories(root.path());
        }
        assert!(some > 0, "they were killed before they did anything");
    }
}
