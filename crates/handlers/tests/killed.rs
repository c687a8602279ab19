//! Callers that are killed at each step of what is done for them. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Mode, mkdirat};
use seccomp_agent_handlers::{Failure, emulate, open_caller};
use seccomp_agent_nsenter::{Base, Capabilities, EntryPath};
use seccomp_agent_registry::{Call, Handler, Layer, Registry, Verdict};
use support::audit::{audited, record};
use support::tree::{build, listing};

/// How long a killed caller may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// When the caller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Received,
    ArgumentsRead,
    Opened,
    FoundValid,
    Acting,
    Acted,
}

/// Has the caller killed, and waits until nobody waits for the call any more.
fn end(call: &Call<'_>, order: &AtomicBool) {
    order.store(true, Ordering::Relaxed);
    let start = Instant::now();
    while call.is_valid() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Runs `work` with an order upon which the caller is killed: by another thread, since one that acts as the caller may
/// do no more than that.
fn with_killer<T>(call: &Call<'_>, work: impl FnOnce(&AtomicBool) -> T) -> T {
    let (order, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let caller = Pid::from_raw(call.tid().cast_signed());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !order.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(100));
            }
            if order.load(Ordering::Relaxed) {
                kill(caller, Signal::SIGKILL).unwrap();
            }
        });
        let outcome = work(&order);
        ended.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Makes a directory as [`seccomp_agent_handlers::Directories`] does, and kills the caller on the way.
fn make(call: &Call<'_>, step: Step, order: &AtomicBool) -> Result<Verdict, Failure> {
    let kill_at = |now| {
        if now == step {
            end(call, order);
        }
    };
    kill_at(Step::Received);
    let argument = usize::from(call.syscall().name() != Some("mkdir"));
    let path = EntryPath::new(&call.memory().path(call.arg(argument))?);
    kill_at(Step::ArgumentsRead);
    let caller = open_caller(call)?;
    kill_at(Step::Opened);
    let is_valid = || {
        let is_valid = call.is_valid();
        kill_at(Step::FoundValid);
        is_valid
    };
    caller.act(is_valid, Capabilities::empty(), |scene| {
        kill_at(Step::Acting);
        let place = scene.place(&Base::cwd(), &path)?;
        mkdirat(place.directory(), place.name(), Mode::from_raw_mode(0o751))
    })?;
    kill_at(Step::Acted);
    Ok(Verdict::Return(0))
}

/// Runs busybox as user 1000 below `root`.
fn run(registry: Registry, root: &Path, arguments: Vec<&'static str>) -> ExitStatus {
    let here = root.join("w");
    support::run(
        Some(registry),
        || (),
        move || {
            let mut busybox = Command::new("/bin/busybox");
            busybox.args(arguments).current_dir(here).uid(1000).gid(1000).status().unwrap()
        },
    )
}

#[test]
fn what_is_asked_is_done_as_a_whole_or_not_at_all() {
    for (step, is_made) in [
        (Step::Received, false),
        (Step::ArgumentsRead, false),
        (Step::Opened, false),
        (Step::FoundValid, true),
        (Step::Acting, true),
        (Step::Acted, true),
    ] {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        build(root.path());
        let mut registry = Registry::new();
        for name in ["mkdir", "mkdirat"] {
            let handler = move |call: &Call<'_>| {
                with_killer(call, |order| emulate(call, |call| make(call, step, order)))
            };
            registry.on(name, handler).unwrap();
        }
        let (status, records) = record(|| run(audited(registry), root.path(), vec!["mkdir", "made"]));
        assert_eq!(status.signal(), Some(9), "{step:?}");
        let made = fs::metadata(root.path().join("w/made"));
        let made = made.map(|made| (made.uid(), made.gid(), made.mode() & 0o7777)).ok();
        assert_eq!(made, is_made.then_some((1000, 1000, 0o751)), "{step:?}");
        if is_made {
            assert_eq!(records.count(&[("decision", "granted")]), 1, "{step:?}: {records:?}");
        } else {
            records.assert_refused(&[("errno", "EINTR")]);
        }
    }
}

/// Kills each caller before anything is done for it.
struct Killing;

impl Layer for Killing {
    fn wrap(&self, _syscall: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(move |call: &Call<'_>| {
            with_killer(call, |order| end(call, order));
            inner.handle(call)
        })
    }
}

#[test]
fn nothing_is_done_for_the_dead_whatever_is_asked() {
    for arguments in [
        ["mkdir", "made"].as_slice(),
        &["mkfifo", "made"],
        &["chmod", "600", "own"],
        &["chown", "1000:1000", "own"],
        &["chown", "-h", "1000:1000", "own"],
    ] {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        build(root.path());
        let before = listing(root.path());
        let mut registry = support::emulations();
        registry.layer(&Killing);
        let (status, records) = record(|| run(audited(registry), root.path(), arguments.to_vec()));
        assert_eq!(status.signal(), Some(9), "{arguments:?}");
        records.assert_refused(&[("errno", "EINTR")]);
        assert_eq!(listing(root.path()), before, "{arguments:?}");
    }
}
