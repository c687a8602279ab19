//! Calls a second, of one container with several threads and of several containers, also while 1,000 others idle.

use std::path::Path;

use crate::Effort;
use crate::caller::{Container, Options};
use crate::peers::Staying;
use crate::report::{Bound, Report, median};
use crate::server::{Kind, Server};

/// Listeners that are registered and say nothing.
const IDLE: u32 = 1000;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading(&format!(
        "one continued call, beside idle listeners (median of {}, in turns)",
        effort.rounds
    ));
    for idle in [0, IDLE] {
        let (mut floors, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            for (kind, values) in [(Kind::Floor, &mut floors), (Kind::Agent, &mut agents)] {
                let server = Server::start(kind)?;
                let _others = (idle > 0).then(|| Staying::start(server.socket(), idle)).transpose()?;
                values.push(run(server.socket(), 1, Options::back_to_back(effort.calls, 1))?.1);
            }
        }
        let (floor, agent) = (median(floors), median(agents));
        report.add("beside", &format!("{} listeners: floor", idle + 1), floor, "us", Bound::None);
        let bound = Bound::AtMost { floor, times: 1.15 };
        report.add("beside", &format!("{} listeners: agent", idle + 1), agent, "us", bound);
    }

    report.heading(&format!("calls a second, in thousands (median of {}, in turns)", effort.rounds));
    for (containers, threads) in [(1, 1), (1, 4), (1, 8), (8, 1)] {
        let (mut floors, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            for (kind, values) in [(Kind::Floor, &mut floors), (Kind::Agent, &mut agents)] {
                let server = Server::start(kind)?;
                let options = Options::back_to_back(effort.calls, threads);
                values.push(run(server.socket(), containers, options)?.0 / 1e3);
            }
        }
        let (floor, agent) = (median(floors), median(agents));
        let what = format!("containers {containers}, threads in each {threads}");
        report.add("throughput", &format!("{what}: floor"), floor, "k/s", Bound::None);
        report.add(
            "throughput",
            &format!("{what}: agent"),
            agent,
            "k/s",
            Bound::AtLeast { floor, times: 0.9 },
        );
    }
    Ok(())
}

/// Calls a second of all containers together, and the median latency of the last, in microseconds.
fn run(socket: &Path, containers: usize, options: Options) -> anyhow::Result<(f64, f64)> {
    let mut started = Vec::new();
    for number in 0..containers {
        let (container, listener) = Container::start(options)?;
        if let Some(listener) = listener {
            crate::peers::hand_over(socket, u32::try_from(number)?, &listener.into())?;
        }
        started.push(container);
    }
    for container in &mut started {
        container.begin()?;
    }
    let (mut rate, mut latency) = (0.0, 0.0);
    for container in started {
        let measured = container.finish()?;
        rate += measured.rate;
        latency = measured.latency;
    }
    Ok((rate, latency))
}
