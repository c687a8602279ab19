//! Programs that start late.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use seccomp_agent_handlers::{Executions, Pattern};
use seccomp_agent_registry::{Call, Container, Handler, Notification, Registry, Status, Verdict};

const DELAY: Duration = Duration::from_millis(300);

#[test]
fn a_containers_own_program_starts_late_and_what_exec_adds_does_not() {
    let (notification, mut container) = (Notification::sample("execve"), Container::named("c"));
    let executions = Executions::new().starting_late(Duration::from_secs(3600));
    let answer = |container: &Container| executions.handle(&Call::new(&notification, container));
    assert_eq!(answer(&container), Verdict::Continue, "exec");
    container.status = Status::Creating;
    let Verdict::After(delay, then) = answer(&container) else { panic!("it starts at once") };
    assert!(delay > Duration::from_secs(3000) && *then == Verdict::Continue);
    let executions = Executions::new().starting_late(Duration::ZERO);
    assert_eq!(executions.handle(&Call::new(&notification, &container)), Verdict::Continue, "it is time");
}

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
