//! How soon a container is served.

use crate::Effort;
use crate::peers;
use crate::report::{Bound, Report, median};
use crate::server::{Kind, Server};

/// Containers that start one after the other, or all at once.
const ONE_BY_ONE: u32 = 200;
const AT_ONCE: u32 = 1000;

/// The most that the agent may take, as a multiple of the floor.
const ONE_BOUND: f64 = 2.0;
const MANY_BOUND: f64 = 1.5;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading(&format!("from connecting to the first answer (median of {}, in turns)", effort.rounds));
    for (name, count, at_once, times, unit, scale) in [
        ("one container at a time", ONE_BY_ONE, false, ONE_BOUND, "us", 1.0),
        ("1,000 containers at once, until all are served", AT_ONCE, true, MANY_BOUND, "ms", 1e3),
    ] {
        let (mut floors, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            floors.push(peers::measure(Server::start(Kind::Floor)?.socket(), count, at_once)? / scale);
            agents.push(peers::measure(Server::start(Kind::Agent)?.socket(), count, at_once)? / scale);
        }
        let floor = median(floors);
        report.add("start", &format!("{name}: floor"), floor, unit, Bound::None);
        report.add("start", &format!("{name}: agent"), median(agents), unit, Bound::AtMost { floor, times });
    }
    Ok(())
}
