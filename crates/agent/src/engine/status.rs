use std::sync::atomic::{AtomicU64, Ordering};

/// What a worker is doing, as the monitor sees it: a phase and a sequence number in one word, so that "still
/// the same call as at the last tick" is one comparison.
#[derive(Debug, Default)]
pub(super) struct Status(AtomicU64);

/// One reading of a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading(u64);

/// Waiting for work, or doing what cannot block.
const FREE: u64 = 0;
/// Blocked in RECV on a listener that it has adopted.
const RECEIVING: u64 = 1;
/// In a handler that may block.
const ENTERED: u64 = 2;
/// In a handler that does block: the monitor has given its listener to others.
const HANDED_OVER: u64 = 3;

const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

impl Status {
    /// The worker waits in RECV, or is about to. Ordered as [`enter`](Self::enter).
    pub(super) fn receiving(&self) {
        self.advance(RECEIVING, Ordering::SeqCst);
    }

    /// The worker does nothing that can block.
    pub(super) fn free(&self) {
        self.advance(FREE, Ordering::Release);
    }

    /// The worker enters a handler that may block. Ordered before whatever it looks at next, so that either it
    /// sees that no tick is armed, or the tick sees that it has entered.
    pub(super) fn enter(&self) {
        self.advance(ENTERED, Ordering::SeqCst);
    }

    /// The worker leaves the handler: false if its listener was given away meanwhile.
    pub(super) fn leave(&self) -> bool {
        let entered = self.0.load(Ordering::Relaxed);
        let left = (entered & !PHASE_MASK) | FREE;
        entered & PHASE_MASK == ENTERED
            && self.0.compare_exchange(entered, left, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The monitor gives the listener of a worker away that has not moved since `seen`: false if it has.
    pub(super) fn hand_over(&self, seen: Reading) -> bool {
        let handed = (seen.0 & !PHASE_MASK) | HANDED_OVER;
        self.0.compare_exchange(seen.0, handed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The worker gives its own listener away, before it begins something long.
    pub(super) fn hand_over_self(&self) {
        self.advance(HANDED_OVER, Ordering::Release);
    }

    pub(super) fn read(&self) -> Reading {
        Reading(self.0.load(Ordering::SeqCst))
    }

    /// Only the worker itself calls this, so there is no lost update but against `hand_over`, which acts on
    /// the phase ENTERED only; and that phase is left by `leave`.
    fn advance(&self, phase: u64, ordering: Ordering) {
        let sequence = (self.0.load(Ordering::Relaxed) >> PHASE_BITS).wrapping_add(1);
        self.0.store((sequence << PHASE_BITS) | phase, ordering);
    }
}

impl Reading {
    pub(super) fn is_receiving(self) -> bool {
        self.0 & PHASE_MASK == RECEIVING
    }

    pub(super) fn has_entered(self) -> bool {
        self.0 & PHASE_MASK == ENTERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_that_returned_in_time_keeps_its_listener() {
        let status = Status::default();
        status.enter();
        let seen = status.read();
        assert!(seen.has_entered() && status.leave());
        status.enter();
        assert!(!status.hand_over(seen), "that was another call");
        assert!(status.leave());
    }

    #[test]
    fn a_handler_that_did_not_learns_that_its_listener_is_gone() {
        let status = Status::default();
        status.enter();
        assert!(status.hand_over(status.read()));
        assert!(!status.leave());
        status.free();
        assert!(!status.read().has_entered());
    }

    #[test]
    fn an_idle_receiver_reads_the_same_and_a_busy_one_does_not() {
        let status = Status::default();
        status.receiving();
        let seen = status.read();
        assert!(seen.is_receiving() && status.read() == seen);
        status.receiving();
        assert_ne!(status.read(), seen);
    }
}
