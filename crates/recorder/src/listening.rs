use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use seccomp_agent_registry::{Call, Container, Handler, Layer, Verdict};

use crate::counts::Counts;
use crate::seen::Origin;
use crate::start::Start;

/// A recorder at one listener.
#[derive(Clone)]
pub(crate) struct Listening(Arc<Listened>);

/// What is known of one listener, besides what it adds to its container's counts.
pub(crate) struct Listened {
    counts: Arc<Counts>,
    start: Start,
    is_exec: bool,
    since: Instant,
    has_ended: AtomicBool,
    /// How many listeners of the container have not ended.
    open: Arc<AtomicUsize>,
    /// One bit for each place: what was called here.
    called: Box<[AtomicU64]>,
}

/// What was added to a container and has ended so soon is taken for a health check.
const PROBE: Duration = Duration::from_secs(5);

const BITS: usize = 64;

impl Listening {
    pub(crate) fn new(counts: Arc<Counts>, open: Arc<AtomicUsize>, is_exec: bool) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        let words = counts.places().div_ceil(BITS);
        Self(Arc::new(Listened {
            counts,
            start: Start::new(),
            is_exec,
            since: Instant::now(),
            has_ended: AtomicBool::new(false),
            open,
            called: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    pub(crate) fn listened(&self) -> Weak<Listened> {
        Arc::downgrade(&self.0)
    }

    /// Counts a call, and says how often it was made so far; 0 for one of which that is not known.
    pub(crate) fn count(&self, call: &Call<'_>) -> u64 {
        let Listened { counts, start, called, .. } = &*self.0;
        let added = counts.add(call);
        if let Some((place, _)) = added {
            let (word, bit) = (&called[place / BITS], 1 << (place % BITS));
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        start.see(call.notification(), counts);
        added.map_or(0, |(_, count)| count)
    }
}

impl Listened {
    /// Adds to the counts what kind of processes made the calls so far, if it can be told yet.
    pub(crate) fn settle(&self) {
        match (self.is_exec, self.since.elapsed() > PROBE) {
            _ if self.has_ended.load(Ordering::Acquire) => {}
            (false, _) => self.were_by(Origin::Start),
            (true, true) => self.were_by(Origin::Exec),
            (true, false) => {}
        }
    }

    fn end(&self) {
        if !self.has_ended.swap(true, Ordering::AcqRel) {
            self.were_by(match (self.is_exec, self.since.elapsed() > PROBE) {
                (false, _) => Origin::Start,
                (true, true) => Origin::Exec,
                (true, false) => Origin::Probe,
            });
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn were_by(&self, origin: Origin) {
        for (index, word) in self.called.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            let places = (0..BITS).filter(|bit| word & (1 << bit) != 0);
            places.for_each(|bit| self.counts.were_by(index * BITS + bit, origin));
        }
    }
}

impl Drop for Listened {
    /// Of a listener that was never served, nobody says that it has ended.
    fn drop(&mut self) {
        self.end();
    }
}

impl Handler for Listening {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self.count(call);
        Verdict::Continue
    }

    fn may_block(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "record"
    }

    fn ended(&self, _: &Container) {
        self.0.end();
    }
}

impl Layer for Listening {
    fn wrap(&self, _: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Counted { listening: self.clone(), inner })
    }
}

/// A handler whose calls are counted.
struct Counted {
    listening: Listening,
    inner: Arc<dyn Handler>,
}

impl Handler for Counted {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self.listening.count(call);
        self.inner.handle(call)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn ended(&self, _: &Container) {
        self.listening.0.end();
    }
}
