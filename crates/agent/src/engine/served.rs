use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seccomp_agent_notify::Listener;
use seccomp_agent_registry::{Container, Registry};

use super::observer::Meter;
use super::table::Key;

/// A listener that is being served, and all that belongs to it.
pub(super) struct Served {
    pub(super) key: Key,
    pub(super) listener: Listener,
    pub(super) container: Arc<Container>,
    pub(super) registry: Arc<Registry>,
    pub(super) meter: Option<Arc<dyn Meter>>,
    gate: Mutex<Gate>,
    /// When its last event came, in microseconds since it was added.
    last_event: AtomicU64,
    added: Instant,
}

/// A listener whose events come closer together than this is busy.
const BUSY: Duration = Duration::from_millis(5);

/// Before the first event.
const NEVER: u64 = u64::MAX;

/// How much of the agent one listener uses. At its limits it is not received from, so a container can hold up
/// nobody but itself.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Calls whose handler blocks a worker for longer than a tick.
    blocked: u32,
    /// Calls that wait for their delay.
    held: u32,
    /// Nobody waits for its calls until one has been answered.
    parked: bool,
}

/// The limits in force, for one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) blocked: u32,
    pub(super) held: u32,
}

/// What to do with a listener after its [`Gate`] has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Then {
    /// Wait for its events again.
    Rearm,
    /// Wait for nothing but its end.
    Park,
    /// Leave it as it is.
    Leave,
}

impl Served {
    pub(super) fn new(
        key: Key,
        listener: Listener,
        container: Arc<Container>,
        registry: Arc<Registry>,
        meter: Option<Arc<dyn Meter>>,
    ) -> Self {
        let (gate, last_event, added) = (Mutex::default(), AtomicU64::new(NEVER), Instant::now());
        Self { key, listener, container, registry, meter, gate, last_event, added }
    }

    /// Notes an event: whether the one before came shortly ago, so that another is likely to follow.
    pub(super) fn is_busy(&self) -> bool {
        let now = u64::try_from(self.added.elapsed().as_micros()).unwrap_or(NEVER);
        let last = self.last_event.swap(now, Ordering::Relaxed);
        last != NEVER && Duration::from_micros(now.saturating_sub(last)) < BUSY
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Served {
    /// The last that holds it is its owner, or the last call of it that is in a handler.
    fn drop(&mut self) {
        let told = catch_unwind(AssertUnwindSafe(|| self.registry.ended(&self.container)));
        if told.is_err() {
            tracing::error!(container = self.container.id, "a handler panicked at a listener's end");
        }
    }
}

impl Gate {
    /// A call has turned out to block, or will.
    pub(super) fn block(&mut self) {
        self.blocked += 1;
    }

    /// [`block`](Self::block), unless that would be one too many.
    pub(super) fn try_block(&mut self, limits: Limits) -> bool {
        let may = self.blocked < limits.blocked;
        self.blocked += u32::from(may);
        may
    }

    /// A call that blocked has been answered.
    pub(super) fn unblock(&mut self, limits: Limits) -> Then {
        self.blocked -= 1;
        self.unpark(limits)
    }

    /// A call waits for its delay.
    pub(super) fn hold(&mut self) {
        self.held += 1;
    }

    /// A held call has been answered.
    pub(super) fn release(&mut self, limits: Limits) -> Then {
        self.held -= 1;
        self.unpark(limits)
    }

    /// A call that was counted as held and is not.
    pub(super) fn forget_held(&mut self) {
        self.held -= 1;
    }

    /// The owner lets go of the listener.
    pub(super) fn rearm_or_park(&mut self, limits: Limits) -> Then {
        self.parked = self.is_full(limits);
        if self.parked { Then::Park } else { Then::Rearm }
    }

    pub(super) fn is_full(&self, limits: Limits) -> bool {
        self.blocked >= limits.blocked || self.held >= limits.held
    }

    fn unpark(&mut self, limits: Limits) -> Then {
        if self.parked && !self.is_full(limits) {
            self.parked = false;
            Then::Rearm
        } else {
            Then::Leave
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { blocked: 2, held: 3 };

    #[test]
    fn a_listener_is_left_alone_at_its_limit_and_taken_up_again_below() {
        let mut gate = Gate::default();
        gate.block();
        assert_eq!(gate.rearm_or_park(LIMITS), Then::Rearm);
        gate.block();
        assert_eq!(gate.rearm_or_park(LIMITS), Then::Park);
        assert!(!gate.try_block(LIMITS));
        assert_eq!(gate.unblock(LIMITS), Then::Rearm);
        assert_eq!(gate.unblock(LIMITS), Then::Leave, "it is armed already");
    }

    #[test]
    fn held_calls_count_against_their_own_limit() {
        let mut gate = Gate::default();
        for _ in 0..3 {
            gate.hold();
        }
        assert_eq!(gate.rearm_or_park(LIMITS), Then::Park);
        assert_eq!(gate.release(LIMITS), Then::Rearm);
        assert_eq!(gate.release(LIMITS), Then::Leave);
    }
}
