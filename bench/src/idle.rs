//! What listeners cost that nobody calls through, and what those leave behind that have ended.

use std::time::{Duration, Instant};

use crate::peers::{self, Staying};
use crate::report::{Bound, Report};
use crate::server::{Kind, Server};

const LISTENERS: u32 = 1000;
/// How long wake-ups are counted.
const WATCHED: Duration = Duration::from_secs(3);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[allow(clippy::cast_precision_loss)] // Small numbers.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let server = Server::start(Kind::Agent)?;
    // The first round brings in what is made once.
    drop(Staying::start(server.socket(), LISTENERS)?);
    settle(&server)?;
    let before = (server.descriptors()?, server.resident()?);

    report.heading("1,000 idle listeners");
    let listeners = Staying::start(server.socket(), LISTENERS)?;
    std::thread::sleep(Duration::from_millis(200));
    let woken = server.wake_ups()?;
    std::thread::sleep(WATCHED);
    let woken = (server.wake_ups()? - woken) as f64 / WATCHED.as_secs_f64();
    report.add("idle", "wake-ups", woken, "/s", Bound::Limit(0.0));
    report.add("idle", "threads", server.threads()? as f64, "", Bound::Limit(8.0));
    report.add("idle", "resident", server.resident()? as f64 / MEBIBYTE, "MiB", Bound::Limit(16.0));
    drop(listeners);

    report.heading("after 10,000 listeners have come and gone");
    for _ in 0..10 {
        peers::measure(server.socket(), LISTENERS, true)?;
    }
    settle(&server)?;
    let descriptors = server.descriptors()? as f64 - before.0 as f64;
    let resident = (server.resident()? as f64 - before.1 as f64) / MEBIBYTE;
    report.add("idle", "more descriptors than before", descriptors, "", Bound::Limit(0.0));
    report.add("idle", "more memory than before", resident, "MiB", Bound::Limit(1.0));
    Ok(())
}

/// Waits until the ended listeners have been closed.
fn settle(server: &Server) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = usize::MAX;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = server.descriptors()?;
        if now == last || Instant::now() > deadline {
            return Ok(());
        }
        last = now;
    }
}
