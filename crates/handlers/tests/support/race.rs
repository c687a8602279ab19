//! A container that changes things while the agent looks at them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seccomp_agent_registry::Registry;

use super::audit::{Records, audited, record};
use super::tree::Kind;

/// How long each race runs: as many seconds as `RACE_SECONDS` says, or ten in CI and one elsewhere.
pub(crate) fn race_duration() -> Duration {
    let said = std::env::var("RACE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    Duration::from_secs(said.unwrap_or(if in_ci { 10 } else { 1 }))
}

/// How many names a race has for what it makes: removing more would take longer than the race.
pub(crate) const NAMES: u32 = 500;

/// Lets a caller of this kind repeat `call`, while a thread of the container repeats `disturb`: with all rights,
/// and without the filter. Gives what is written down of it.
pub(crate) fn race(
    kind: Kind,
    registry: Registry,
    root: &Path,
    disturb: impl Fn() + Send + 'static,
    call: impl Fn(u32) + Send + 'static,
) -> Records {
    let here = root.to_owned();
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let prepare = move || {
        kind.enter(&here);
        // Shares the caller's root and directory, as threads do, but neither its filter nor its credentials,
        // which come later.
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                disturb();
            }
        });
        kind.take_credentials();
    };
    let body = move || {
        let start = Instant::now();
        for round in 0.. {
            call(round);
            if start.elapsed() > race_duration() {
                break;
            }
        }
        end.store(true, Ordering::Relaxed);
    };
    record(|| super::run(Some(audited(registry)), prepare, body)).1
}
