//! Programs that start late.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use seccomp_agent_handlers::{Executions, Pattern};
use seccomp_agent_registry::Registry;

const DELAY: Duration = Duration::from_millis(300);

#[test]
fn a_program_of_the_pattern_starts_late_and_others_do_not() {
    let mut registry = Registry::new();
    registry.on("execve", Executions::new().delaying(Pattern::new("*/true"), DELAY)).unwrap();
    support::run(
        Some(registry),
        || (),
        || {
            let took = |program| {
                let start = Instant::now();
                assert!(Command::new(program).output().unwrap().status.success());
                start.elapsed()
            };
            assert!(took("/bin/true") >= DELAY);
            // On a busy machine a start may take as long by itself, but not each.
            assert!((0..20).any(|_| took("/bin/echo") < DELAY));
        },
    );
}
