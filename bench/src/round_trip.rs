//! One continued call: what it costs natively, through a bare loop, and through the engine.

use std::sync::Arc;

use seccomp_agent_agent::Engine;
use seccomp_agent_notify::{Arch, Listener, Syscall};
use seccomp_agent_registry::{Call, Container, Registry, Verdict};

use crate::Effort;
use crate::caller::{self, Options};
use crate::emulated::engine;
use crate::floor;
use crate::report::{Bound, Report, median};

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrangement {
    Native,
    Loop,
    LoopWithSync,
    None,
    Confined,
    Handlers,
}

const ARRANGEMENTS: [(Arrangement, &str); 6] = [
    (Arrangement::Native, "native, not notified"),
    (Arrangement::Loop, "RECV/SEND loop"),
    (Arrangement::LoopWithSync, "RECV/SEND loop, SYNC_WAKE_UP"),
    (Arrangement::None, "agent, no handlers"),
    (Arrangement::Confined, "agent, no handlers, confined"),
    (Arrangement::Handlers, "agent, 300 handlers"),
];

/// The most that the agent may add to the loop.
const BOUND: f64 = 1.15;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    for (title, threads, work) in [
        ("one thread, back to back", 1, 0),
        ("one thread, 10 us of work between calls", 1, 10),
        ("four threads, back to back", 4, 0),
    ] {
        report.heading(&format!(
            "round trip of a continued call, {title} (median of {}, in turns)",
            effort.rounds
        ));
        let options = Options { work, ..Options::back_to_back(effort.calls, threads) };
        let mut seen = vec![Vec::new(); ARRANGEMENTS.len()];
        for _ in 0..effort.rounds {
            for (values, (arrangement, _)) in seen.iter_mut().zip(ARRANGEMENTS) {
                values.push(one(arrangement, options)?);
            }
        }
        let medians: Vec<_> = seen.into_iter().map(median).collect();
        let floor = medians[2];
        for ((arrangement, name), value) in ARRANGEMENTS.into_iter().zip(medians) {
            let bound = match arrangement {
                Arrangement::None | Arrangement::Confined | Arrangement::Handlers => {
                    Bound::AtMost { floor, times: BOUND }
                }
                _ => Bound::None,
            };
            report.add(&format!("round trip, {title}"), name, value, "us", bound);
        }
    }
    Ok(())
}

/// Microseconds a call: the median latency of one thread, or the share of several in their wall time.
fn one(arrangement: Arrangement, options: Options) -> anyhow::Result<f64> {
    let native = arrangement == Arrangement::Native;
    let (container, listener) = caller::Container::start(Options { native, ..options })?;
    let measured = match (arrangement, listener) {
        (Arrangement::Native, _) | (_, None) => container.measure()?,
        (Arrangement::Loop | Arrangement::LoopWithSync, Some(listener)) => {
            if arrangement == Arrangement::LoopWithSync {
                listener.set_sync_wake_up()?;
            }
            let answering = std::thread::spawn(move || floor::answer(&listener));
            let measured = container.measure()?;
            answering.join().map_err(|_| anyhow::anyhow!("the loop panicked"))??;
            measured
        }
        (Arrangement::None | Arrangement::Confined | Arrangement::Handlers, Some(listener)) => {
            let many = arrangement == Arrangement::Handlers;
            let handlers = if many { many_handlers()? } else { Registry::new() };
            by_engine(&engine(arrangement == Arrangement::Confined)?, listener, handlers, container)?
        }
    };
    Ok(if options.threads == 1 { measured.latency } else { 1e6 / measured.rate })
}

/// What a container measures whose listener is served with these handlers.
pub fn with_engine(
    listener: Listener,
    handlers: Registry,
    container: caller::Container,
) -> anyhow::Result<caller::Measured> {
    by_engine(&engine(false)?, listener, handlers, container)
}

fn by_engine(
    engine: &Engine,
    listener: Listener,
    handlers: Registry,
    container: caller::Container,
) -> anyhow::Result<caller::Measured> {
    engine.serve(listener, Arc::new(Container::named("bench")), Arc::new(handlers))?;
    container.measure()
}

/// A registry in which 300 calls have a handler, as of somebody who wants to see nearly everything.
fn many_handlers() -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    let names: Vec<_> = Syscall::all(Arch::native()).filter_map(Syscall::name).take(299).collect();
    for name in names.into_iter().chain(["getppid"]) {
        registry.on(name, |_: &Call<'_>| Verdict::Continue)?;
    }
    Ok(registry)
}
