//! Callers whose number has become another's by the time that somebody acts for them. Needs root, busybox and a C
//! compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seccomp_agent_handlers::Modes;
use seccomp_agent_notify::Features;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Handler, Registry, Verdict};
use support::audit::{Records, audited, record};
use support::program::compile;
use support::tree::build;

/// How long a caller may take to be replaced by somebody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mode that a user tries to give root's file.
const AS_ROOT: u64 = 0o777;

fn is_roots(tid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{tid}/status"));
    status.is_ok_and(|status| status.contains("Uid:\t0\t0\t0\t0"))
}

/// What came of a call: whether the caller's number was root's by then, and whether the call was refused.
type Seen = Vec<(bool, bool)>;

/// Lets a user's process change a file of root's, and root take its number (`how`) before the agent looks at it.
/// Gives what came of each call, the file's mode, and what is written down.
fn replaced(how: &'static str, flags: Flags) -> (Seen, u32, Records) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let program = compile("identity", root.path());
    let file = root.path().join("w/file");
    let (modes, seen) = (Modes::granting(Capabilities::empty()), Arc::new(Mutex::new(Seen::new())));
    let calls = Arc::clone(&seen);
    let [received, done] = ["received", "done"].map(|what| root.path().join("w/file").with_extension(what));
    let mut registry = Registry::new();
    registry
        .on("fchmod", move |call: &Call<'_>| {
            if call.arg(1) == AS_ROOT {
                fs::write(&received, "").unwrap();
                let start = Instant::now();
                while !is_roots(call.tid()) && start.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let is_root = is_roots(call.tid());
            let verdict = modes.handle(call);
            calls.lock().unwrap().push((is_root, matches!(verdict, Verdict::Errno(_))));
            fs::write(&done, "").unwrap();
            verdict
        })
        .unwrap();
    let changed = file.clone();
    let body = move || Command::new(program).arg(how).arg(changed).status().unwrap();
    let (status, records) =
        record(|| support::run_flagged(Some(audited(registry)), Features::probe(), flags, || (), body));
    assert!(status.success(), "{how}: {status}");
    let seen = seen.lock().unwrap().clone();
    (seen, fs::metadata(file).unwrap().mode() & 0o7777, records)
}

#[test]
fn nothing_is_done_as_the_thread_that_has_executed_under_the_callers_number() {
    for flags in [Flags::empty(), Flags::WAIT_KILLABLE_RECV] {
        if flags == Flags::empty() || Features::probe().wait_killable_recv {
            let (seen, mode, records) = replaced("exec", flags);
            assert_eq!((seen, mode), (vec![(true, true)], 0o644));
            records.assert_refused(&[("syscall", "fchmod"), ("asked", "fd=*"), ("errno", "EINTR")]);
        }
    }
}

#[test]
fn nothing_is_done_as_the_process_that_got_the_callers_number_again() {
    let own_then_roots_then_by_root = vec![(false, false), (true, true), (true, false)];
    let (seen, mode, records) = replaced("reuse", Flags::empty());
    assert_eq!((seen, mode), (own_then_roots_then_by_root, 0o640));
    records.assert_refused(&[("syscall", "fchmod"), ("asked", "fd=*"), ("errno", "EINTR")]);
}
