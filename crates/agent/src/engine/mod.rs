//! The data plane: plain threads that receive notifications and answer them.
//!
//! One notification's way: epoll tells a [`worker`] that a listener has something; the worker owns the listener
//! until it lets go, receives into its slot, asks the registry, and [`answer`] sends what the verdict says, or
//! gives the call to [`delays`]. The [`monitor`] watches for workers that are stuck in a handler and gives their
//! listeners to others. A [`served`] listener counts what its container has in flight. Nothing here waits for
//! anything but epoll, poll, RECV and SEND while calls are merely continued.

mod answer;
mod delays;
mod monitor;
mod observer;
mod served;
mod status;
mod table;
mod timer;
mod worker;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use seccomp_agent_notify::{Features, Listener, SlotTable, interrupt};
use seccomp_agent_registry::{Container, Registry};

use delays::Delays;
use monitor::Monitor;
use served::{Limits, Served, Then};
use status::Reading;
use table::{Key, Table};
use worker::Worker;

pub use observer::{Meter, Observer};

/// Serves listeners. Dropping it closes them: calls still notified by their filters fail with ENOSYS.
pub struct Engine {
    shared: Arc<Shared>,
    monitor: Option<std::thread::JoinHandle<()>>,
}

/// How an [`Engine`] is set up.
#[derive(Clone)]
pub struct Config {
    /// Threads that answer calls while none is blocked. Default: one a CPU, at least two, at most four.
    pub workers: u32,
    /// What the kernel can do. Default: [`Features::probe`].
    pub features: Features,
    /// Who is told of every answer; nobody by default, which also saves reading the clock.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Why an engine could not be set up, or a listener not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A descriptor that the engine needs for itself could not be made.
    #[error("creating the engine's {what} failed: {source}")]
    Create {
        /// Which one.
        what: &'static str,
        /// What went wrong.
        source: Errno,
    },
    /// A thread could not be started.
    #[error("starting a thread failed: {0}")]
    Thread(#[source] std::io::Error),
    /// Somebody handed in a listener that is being served already.
    #[error("this listener is already being served, for container {container:?}")]
    Duplicate {
        /// The container that it is served for.
        container: String,
    },
    /// More listeners than there is room for.
    #[error("as many listeners are being served as there is room for")]
    TooMany,
    /// The kernel would not watch the listener.
    #[error("adding the listener to epoll failed: {0}")]
    Watch(#[source] Errno),
    /// The engine is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

/// Slots for calls in flight. Each has 128 bytes, in memory only once used.
const SLOTS: usize = 65_536;
/// And for the calls that workers have in hand.
const WORKER_SLOTS: usize = 2048;
/// Calls of all containers together that may have a thread blocked each.
const BLOCKED: u32 = 1024;
/// Of one container, however few there are.
const BLOCKED_EACH: u32 = 16;
/// Held calls of one container, however few there are.
const HELD_EACH: u32 = 1024;
/// A worker's stack: a handler is a few frames of system calls, and has a path or two on it.
const STACK: usize = 512 * 1024;
/// How often a stopping engine interrupts workers that wait in RECV.
const STOP_POLL: Duration = Duration::from_millis(2);

/// How long dropping an engine waits for its handlers.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// What all threads of an engine share.
struct Shared {
    epoll: OwnedFd,
    /// Readable once the engine stops.
    stop: OwnedFd,
    stopping: AtomicBool,
    features: Features,
    base_workers: u32,
    observer: Option<Arc<dyn Observer>>,
    slots: Arc<SlotTable>,
    table: Table,
    all: Mutex<BTreeMap<Key, Arc<Served>>>,
    count: AtomicU32,
    delays: Delays,
    monitor: Monitor,
    workers: Mutex<Vec<Arc<Worker>>>,
    /// Workers that wait for any listener at this moment.
    waiting: AtomicUsize,
    /// Workers that there are.
    alive: AtomicU32,
    /// Threads that work out the verdict of a held call.
    working: AtomicU32,
    /// Of the workers, the ones that are busy with a call whose listener they have lost.
    away: AtomicU32,
}

impl Default for Config {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let workers = u32::try_from(cpus).unwrap_or(4).clamp(2, 4);
        Self { workers, features: Features::probe(), observer: None }
    }
}

impl Engine {
    /// Starts the threads.
    pub fn start(config: Config) -> Result<Self, EngineError> {
        let create = |what| move |source| EngineError::Create { what, source };
        interrupt::install_handler().map_err(create("signal handler"))?;
        let shared = Arc::new(Shared {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(create("epoll instance"))?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(create("eventfd"))?,
            stopping: AtomicBool::new(false),
            features: config.features,
            base_workers: config.workers.max(2),
            observer: config.observer,
            slots: SlotTable::new(SLOTS + WORKER_SLOTS).map_err(create("slot table"))?,
            table: Table::new(),
            all: Mutex::default(),
            count: AtomicU32::new(0),
            delays: Delays::new().map_err(create("delay timer"))?,
            monitor: Monitor::new().map_err(create("monitor"))?,
            workers: Mutex::default(),
            waiting: AtomicUsize::new(0),
            alive: AtomicU32::new(0),
            working: AtomicU32::new(0),
            away: AtomicU32::new(0),
        });
        epoll::add(&shared.epoll, &shared.stop, epoll::EventData::new_u64(Key::NONE), epoll::EventFlags::IN)
            .map_err(create("stop event"))?;
        for _ in 0..shared.base_workers {
            shared.spawn_worker().map_err(EngineError::Thread)?;
        }
        let theirs = Arc::clone(&shared);
        let monitor = std::thread::Builder::new()
            .name("seccomp-monitor".into())
            .stack_size(STACK)
            .spawn(move || Monitor::run(&theirs))
            .map_err(EngineError::Thread)?;
        Ok(Self { shared, monitor: Some(monitor) })
    }

    /// Serves a listener until the last task that uses its filter has ended. Returns at once.
    pub fn serve(
        &self,
        listener: Listener,
        container: Arc<Container>,
        registry: Arc<Registry>,
    ) -> Result<(), EngineError> {
        self.shared.serve(listener, container, registry)
    }

    /// The containers of all listeners that are being served.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.shared.all().values().map(|served| Arc::clone(&served.container)).collect()
    }

    /// Answers what is in flight, waits for the handlers to return, for `patience` at most, and ends the
    /// threads. Held calls get their answer at once. Returns the containers whose notified calls will fail with
    /// ENOSYS from now on.
    pub fn stop(mut self, patience: Duration) -> Vec<Arc<Container>> {
        let containers = self.containers();
        self.shut_down(patience);
        containers
    }

    fn shut_down(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::SeqCst);
        let _written = rustix::io::write(&shared.stop, &1_u64.to_ne_bytes());
        let release_held = || shared.delays.drain().into_iter().for_each(|held| shared.release(held));
        let busy = || shared.alive.load(Ordering::SeqCst) + shared.working.load(Ordering::SeqCst) > 0;
        release_held();
        while busy() && Instant::now() < deadline {
            release_held();
            for worker in shared.workers().iter().filter(|worker| worker.status.read().is_receiving()) {
                worker.thread.interrupt();
            }
            std::thread::sleep(STOP_POLL);
        }
        // The last worker may have left a call.
        release_held();
        shared.monitor.stop();
        if let Some(monitor) = self.monitor.take() {
            // It ends by itself; one that panicked has said so.
            let _ended = monitor.join();
        }
        let all = std::mem::take(&mut *shared.all());
        for served in all.into_values() {
            shared.forget(&served);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.monitor.is_some() {
            self.shut_down(DROP_PATIENCE);
        }
    }
}

impl Shared {
    fn serve(
        self: &Arc<Self>,
        listener: Listener,
        container: Arc<Container>,
        registry: Arc<Registry>,
    ) -> Result<(), EngineError> {
        if self.is_stopping() {
            return Err(EngineError::Stopping);
        }
        if self.features.sync_wake_up {
            // Known to this kernel; without it the listener is served all the same, only slower.
            let _set = listener.set_sync_wake_up();
        }
        let mut all = self.all();
        if let Some(first) = duplicate(&listener, &all) {
            return Err(EngineError::Duplicate { container: first.container.id.clone() });
        }
        let meter = self.observer.as_ref().map(|observer| observer.listener_added(&container));
        let served = self
            .table
            .insert(|key| Served::new(key, listener, container, registry, meter))
            .ok_or(EngineError::TooMany)?;
        all.insert(served.key, Arc::clone(&served));
        self.count.fetch_add(1, Ordering::Relaxed);
        drop(all);

        let data = epoll::EventData::new_u64(served.key.as_u64());
        if let Err(errno) = epoll::add(&self.epoll, &served.listener, data, WATCH) {
            self.all().remove(&served.key);
            self.forget(&served);
            return Err(EngineError::Watch(errno));
        }
        Ok(())
    }

    /// A listener has nobody left, or cannot be received from.
    fn end(&self, served: &Arc<Served>, error: Option<Errno>) {
        if let Some(errno) = error {
            tracing::error!(container = served.container.id, error = %errno, "the listener cannot be served any more");
        }
        self.all().remove(&served.key);
        self.forget(served);
    }

    /// Lets go of a listener: it is closed when the last call of it that is in a handler has been answered.
    fn forget(&self, served: &Arc<Served>) {
        if self.table.remove(served.key).is_none() {
            return;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        // Before the descriptor is closed: if somebody holds a duplicate, closing ours would leave it watched.
        let _deleted = epoll::delete(&self.epoll, &served.listener);
        self.delays.forget(served.key);
        tracing::debug!(container = served.container.id, "the listener has ended");
    }

    /// The owner of a listener lets go of it.
    fn wait_again(&self, served: &Served) {
        let then = served.gate().rearm_or_park(self.limits());
        self.rearm_if(then, served);
    }

    fn rearm_if(&self, then: Then, served: &Served) {
        let events = match then {
            Then::Rearm => WATCH,
            Then::Park => WATCH_END,
            Then::Leave => return,
        };
        let data = epoll::EventData::new_u64(served.key.as_u64());
        // ENOENT: it has ended meanwhile.
        let _modified = epoll::modify(&self.epoll, &served.listener, data, events);
    }

    /// Gives the listener of a worker that is stuck in a handler to the others.
    fn hand_over(self: &Arc<Self>, worker: &Worker, seen: Reading) {
        let Some(served) = worker.serving() else { return };
        // Counted before the worker can learn of it and count itself back.
        self.away.fetch_add(1, Ordering::SeqCst);
        let then = {
            // Held meanwhile for the same reason.
            let mut gate = served.gate();
            if !worker.status.hand_over(seen) {
                self.away.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            gate.block();
            gate.rearm_or_park(self.limits())
        };
        self.rearm_if(then, &served);
        self.replace_workers();
    }

    /// The worker itself gives its listener away, before it begins something long.
    fn give_away(self: &Arc<Self>, worker: &Worker, served: &Served) {
        worker.status.hand_over_self();
        let then = {
            let mut gate = served.gate();
            gate.block();
            gate.rearm_or_park(self.limits())
        };
        self.away.fetch_add(1, Ordering::SeqCst);
        self.rearm_if(then, served);
        self.replace_workers();
    }

    /// The worker has answered the call for which it lost its listener.
    fn take_back(&self, served: &Served) {
        self.away.fetch_sub(1, Ordering::SeqCst);
        self.unblock(served);
    }

    fn unblock(&self, served: &Served) {
        let then = served.gate().unblock(self.limits());
        self.rearm_if(then, served);
    }

    /// Sees to it that as many workers as configured are there for other calls.
    fn replace_workers(self: &Arc<Self>) {
        while self.alive.load(Ordering::SeqCst) < self.base_workers + self.away.load(Ordering::SeqCst) {
            if let Err(error) = self.spawn_worker() {
                tracing::error!(%error, "no thread in place of a blocked one");
                return;
            }
        }
    }

    /// Whether the calling worker is to end; if so, it is counted out.
    fn retire(&self) -> bool {
        if self.is_stopping() {
            self.alive.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        let alive = self.alive.load(Ordering::SeqCst);
        alive > self.base_workers + self.away.load(Ordering::SeqCst)
            && self.alive.compare_exchange(alive, alive - 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn spawn_worker(self: &Arc<Self>) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let started = std::thread::Builder::new()
            .name("seccomp-worker".into())
            .stack_size(STACK)
            .spawn(move || shared.work());
        if let Err(error) = started {
            self.alive.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn work(self: &Arc<Self>) {
        let Some(slot) = self.slots.take() else {
            self.alive.fetch_sub(1, Ordering::SeqCst);
            tracing::error!("no slot for another worker: as many calls are in flight as there is room for");
            return;
        };
        let worker = Arc::new(Worker::of_this_thread());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        worker::run(self, &worker, slot);
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| !Arc::ptr_eq(other, &worker));
    }

    /// What one listener may have in flight: the fewer there are, the more.
    fn limits(&self) -> Limits {
        let listeners = self.count.load(Ordering::Relaxed).max(1);
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        Limits {
            blocked: (BLOCKED / listeners).clamp(1, BLOCKED_EACH),
            held: (slots / listeners).clamp(1, HELD_EACH),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn workers(&self) -> Vec<Arc<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Served>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What epoll watches a listener for: one event, for one worker, which then owns the listener. HUP always comes.
const WATCH: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);

/// What it watches a parked listener for: HUP, which always comes.
const WATCH_END: epoll::EventFlags = epoll::EventFlags::ONESHOT;

/// The one of `all` that `listener` is a duplicate of, which takes a look at each unless nobody has claimed it. A
/// kernel without `kcmp(2)` finds none.
fn duplicate<'a>(listener: &Listener, all: &'a BTreeMap<Key, Arc<Served>>) -> Option<&'a Arc<Served>> {
    if listener.claim() == Ok(false) {
        return None;
    }
    all.values().find(|served| served.listener.is_same(listener) == Ok(true))
}
