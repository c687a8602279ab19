//! What recording adds to a continued call, and what a recorded container takes.

use anyhow::Context;
use seccomp_agent_notify::{Arch, Notification, Syscall};
use seccomp_agent_recorder::Recorder;
use seccomp_agent_registry::{Call, Container, Registry, Verdict};

use crate::Effort;
use crate::caller::{self, Options};
use crate::floor;
use crate::report::{Bound, Report, median};
use crate::round_trip::with_engine;

/// Who answers.
#[derive(Clone, Copy)]
enum Arrangement {
    Loop,
    Plain,
    Recorded,
}

const ARRANGEMENTS: [Arrangement; 3] = [Arrangement::Loop, Arrangement::Plain, Arrangement::Recorded];

/// The most that recording may add, beside the loop.
const BOUND: f64 = 0.1;

/// Containers that are recorded at once.
const CONTAINERS: u32 = 256;

/// The most that one may take, in KiB.
const MAX_KIB: f64 = 64.0;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading(&format!("a recorded call (median of {}, in turns)", effort.rounds));
    let mut seen = vec![Vec::new(); ARRANGEMENTS.len()];
    let mut added = Vec::new();
    for _ in 0..effort.rounds {
        let mut round = Vec::new();
        for (values, arrangement) in seen.iter_mut().zip(ARRANGEMENTS) {
            let latency = one(arrangement, Options::back_to_back(effort.calls, 1))?;
            values.push(latency);
            round.push(latency);
        }
        added.push(round[2] - round[1]);
    }
    let medians: Vec<_> = seen.into_iter().map(median).collect();
    let group = "recording";
    for (name, value) in
        ["RECV/SEND loop, SYNC_WAKE_UP", "agent, no handlers", "agent, recording"].into_iter().zip(&medians)
    {
        report.add(group, name, *value, "us", Bound::None);
    }
    let bound = Bound::AtMost { floor: medians[0], times: BOUND };
    report.add(group, "added by recording", median(added).max(0.0), "us", bound);
    report.add(group, "memory of a container", kib_each()?, "KiB", Bound::Limit(MAX_KIB));
    Ok(())
}

/// Microseconds a call.
fn one(arrangement: Arrangement, options: Options) -> anyhow::Result<f64> {
    let (container, listener) = caller::Container::start(options)?;
    let listener = listener.context("the container has no listener")?;
    let mut registry = Registry::new();
    let measured = match arrangement {
        Arrangement::Loop => {
            listener.set_sync_wake_up()?;
            let answering = std::thread::spawn(move || floor::answer(&listener));
            let measured = container.measure()?;
            answering.join().map_err(|_| anyhow::anyhow!("the loop panicked"))??;
            measured
        }
        Arrangement::Plain => with_engine(listener, registry, container)?,
        Arrangement::Recorded => {
            Recorder::new().attach(&mut registry);
            with_engine(listener, registry, container)?
        }
    };
    Ok(measured.latency)
}

/// What each of many recorded containers adds to this process, when it has made every call with many arguments.
fn kib_each() -> anyhow::Result<f64> {
    let container = Container::named("bench");
    let calls: Vec<_> = Arch::native().family().iter().flat_map(|arch| Syscall::all(*arch)).collect();
    let mut notification = Notification::sample("getppid");
    let before = resident()?;
    let mut held = Vec::new();
    for _ in 0..CONTAINERS {
        let recorder = Recorder::new();
        let mut registry = Registry::new();
        recorder.attach(&mut registry);
        for syscall in &calls {
            notification.syscall = *syscall;
            for argument in 0..4 {
                notification.args = [argument; 6];
                anyhow::ensure!(registry.answer(&Call::new(&notification, &container)) == Verdict::Continue);
            }
        }
        held.push((recorder, registry));
    }
    let after = resident()?;
    Ok((after - before) / f64::from(CONTAINERS))
}

/// Resident memory of this process, in KiB.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS in the process status")?.trim().trim_end_matches(" kB").parse()?)
}
