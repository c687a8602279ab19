//! Callers whose number has become another's by the time that somebody acts for them. Needs root, busybox and a C
//! compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seccomp_agent_handlers::Modes;
use seccomp_agent_notify::Features;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Errno, Handler, Registry, Verdict};
use support::program::compile;
use support::tree::build;

/// Long enough for a caller to be replaced by somebody else.
const LATE: Duration = Duration::from_millis(150);

/// Lets a user's process change a file of root's, and root take its number (`how`) before the agent looks at it.
/// Gives what the agent found out.
fn replaced(how: &'static str, flags: Flags) -> Vec<Verdict> {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let program = compile("identity", root.path());
    let file = root.path().join("w/file");
    let (modes, seen) = (Modes::granting(Capabilities::empty()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (is_first, answers) = (AtomicU32::new(0), Arc::clone(&seen));
    let mut registry = Registry::new();
    registry
        .on("fchmod", move |call: &Call<'_>| {
            let first = is_first.fetch_add(1, Ordering::Relaxed) == 0;
            std::thread::sleep(LATE);
            let is_root = fs::read_to_string(format!("/proc/{}/status", call.tid()))
                .is_ok_and(|status| status.contains("Uid:\t0\t0\t0\t0"));
            assert!(is_root || !first, "nobody has taken the number");
            let verdict = modes.handle(call);
            answers.lock().unwrap().push(verdict);
            Verdict::Errno(Errno::INTR)
        })
        .unwrap();
    let changed = file.clone();
    let status = support::run_flagged(
        Some(registry),
        Features::probe(),
        flags,
        || (),
        move || Command::new(program).arg(how).arg(changed).status().unwrap(),
    );
    assert!(status.success(), "{how}: {status}");
    let mode = fs::metadata(file).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o644, "{how}: changed with the rights of somebody else");
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn nothing_is_done_as_the_thread_that_has_executed_under_the_callers_number() {
    for flags in [Flags::empty(), Flags::WAIT_KILLABLE_RECV] {
        if flags == Flags::empty() || Features::probe().wait_killable_recv {
            let seen = replaced("exec", flags);
            assert!(matches!(seen[..], [Verdict::Errno(_)]), "{seen:?}");
        }
    }
}

#[test]
fn nothing_is_done_as_the_process_that_got_the_callers_number_again() {
    let seen = replaced("reuse", Flags::empty());
    assert!(matches!(seen[..], [Verdict::Errno(_)]), "{seen:?}");
}
