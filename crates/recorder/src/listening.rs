use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// One bit for each place: what was called here.
    called: Box<[AtomicU64]>,
}

/// What was added to a container and has ended so soon is taken for a health check.
const PROBE: Duration = Duration::from_secs(5);

const BITS: usize = 64;

impl Listening {
    pub(crate) fn new(counts: Arc<Counts>, is_exec: bool) -> Self {
        let words = counts.places().div_ceil(BITS);
        Self(Arc::new(Listened {
            counts,
            start: Start::new(),
            is_exec,
            since: Instant::now(),
            has_ended: AtomicBool::new(false),
            called: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    pub(crate) fn listened(&self) -> Arc<Listened> {
        Arc::clone(&self.0)
    }

    fn count(&self, call: &Call<'_>) {
        let Listened { counts, start, called, .. } = &*self.0;
        if let Some(place) = counts.add(call) {
            let (word, bit) = (&called[place / BITS], 1 << (place % BITS));
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        start.see(call.notification(), counts);
    }
}

impl Listened {
    /// Adds to the counts what kind of processes made the calls so far, if it can be told yet; whether nothing will
    /// come any more.
    pub(crate) fn settle(&self) -> bool {
        let has_ended = self.has_ended.load(Ordering::Acquire);
        match (self.is_exec, self.since.elapsed() > PROBE) {
            _ if has_ended => {}
            (false, _) => self.were_by(Origin::Start),
            (true, true) => self.were_by(Origin::Exec),
            (true, false) => {}
        }
        has_ended
    }

    fn end(&self) {
        if !self.has_ended.load(Ordering::Acquire) {
            self.were_by(match (self.is_exec, self.since.elapsed() > PROBE) {
                (false, _) => Origin::Start,
                (true, true) => Origin::Exec,
                (true, false) => Origin::Probe,
            });
            self.has_ended.store(true, Ordering::Release);
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
