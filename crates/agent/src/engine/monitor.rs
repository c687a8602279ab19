use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use super::Shared;
use super::status::Reading;
use super::timer;

/// The thread that watches the workers, as Go's sysmon does: it sleeps unless one of them may be stuck, never
/// handles a call itself, and so is always there.
///
/// - A worker that is still in the same handler as a tick ago is blocked. Its listener is given to others.
/// - A worker that still waits in RECV as it did some ticks ago has an idle listener. It goes back to wait for all.
/// - Held calls whose time has come are answered.
pub(super) struct Monitor {
    tick: OwnedFd,
    pace: AtomicU8,
    stop: OwnedFd,
}

/// How soon the next tick comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Pace {
    None = 0,
    /// A listener has been adopted.
    Slow = 1,
    /// A handler that may block has been entered.
    Fast = 2,
}

/// After this long in one handler, a worker counts as blocked (twice, in the worst case).
const FAST: Duration = Duration::from_millis(1);
/// After this long without a call, an adopted listener counts as idle (twice, in the worst case).
const SLOW: Duration = Duration::from_millis(10);

impl Monitor {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            tick: timer::create()?,
            pace: AtomicU8::new(Pace::None as u8),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Makes sure that a tick comes at least this soon. One load where one is on its way already.
    pub(super) fn need(&self, pace: Pace) {
        if self.pace.load(Ordering::SeqCst) < pace as u8
            && self.pace.fetch_max(pace as u8, Ordering::SeqCst) < pace as u8
        {
            timer::arm(&self.tick, if pace == Pace::Fast { FAST } else { SLOW });
            if pace == Pace::Slow && self.pace.load(Ordering::SeqCst) == Pace::Fast as u8 {
                // Somebody else has armed it in between, for sooner.
                timer::arm(&self.tick, FAST);
            }
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let _written = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// The thread.
    pub(super) fn run(shared: &Arc<Shared>) {
        let mut idle_since = Instant::now();
        let mut last: HashMap<u32, Reading> = HashMap::new();
        let mut last_slow: HashMap<u32, Reading> = HashMap::new();
        loop {
            let monitor = &shared.monitor;
            let delays = shared.delays.timer();
            let mut fds = [
                PollFd::new(&monitor.tick, PollFlags::IN),
                PollFd::from_borrowed_fd(delays, PollFlags::IN),
                PollFd::new(&monitor.stop, PollFlags::IN),
            ];
            // EINTR and the like: look again.
            let _ready = poll(&mut fds, None);
            let ready = fds.map(|fd| fd.revents().contains(PollFlags::IN));
            if ready[1] {
                shared.answer_due();
            }
            if ready[0] {
                timer::clear(&monitor.tick);
                // Before the workers are read: one that enters from here on sees it and arms the next tick.
                monitor.pace.store(Pace::None as u8, Ordering::SeqCst);
                let slow = idle_since.elapsed() >= SLOW;
                let (readings, next) = tick(shared, &last, slow.then_some(&last_slow));
                if slow {
                    idle_since = Instant::now();
                    last_slow.clone_from(&readings);
                }
                last = readings;
                monitor.need(next);
            }
            if ready[2] {
                return;
            }
        }
    }
}

/// Looks at every worker once: what they do now, and when to look again.
fn tick(
    shared: &Arc<Shared>,
    last: &HashMap<u32, Reading>,
    last_slow: Option<&HashMap<u32, Reading>>,
) -> (HashMap<u32, Reading>, Pace) {
    let mut pace = Pace::None;
    let mut readings = HashMap::new();
    for worker in shared.workers() {
        let reading = worker.status.read();
        let tid = worker.thread.tid();
        readings.insert(tid, reading);
        if reading.has_entered() {
            if last.get(&tid) == Some(&reading) {
                shared.hand_over(&worker, reading);
            } else {
                pace = pace.max(Pace::Fast);
            }
        } else if reading.is_receiving() {
            pace = pace.max(Pace::Slow);
            let is_idle = last_slow.is_some_and(|last| last.get(&tid) == Some(&reading));
            // Looked at once more: a signal that comes after RECV would interrupt a handler.
            if is_idle && worker.status.read() == reading {
                worker.thread.interrupt();
            }
        }
    }
    (readings, pace)
}
