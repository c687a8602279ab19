//! An agent that serves a socket, a container that calls all the time, and what is observed meanwhile.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccomp_agent_agent::{Agent, Meter, Observer, ResolveError, Socket};
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_registry::{Call, Container, Registry, Syscall, Verdict};
use sendfd::SendWithFd;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::container;

/// What a served container's call returns.
pub(crate) const SERVED: i32 = 4242;
/// And one whose listener was refused.
pub(crate) const ENOSYS: i32 = -38;
/// Longer than anything takes that does not wait for a deadline, on a busy machine.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);
/// Longer than any deadline of the agent's.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each test has the process to itself: they count its descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module. Dropping it stops the agent.
pub(crate) struct Stage {
    agent: Option<JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    seen: Arc<Seen>,
    bystander: Option<Bystander>,
    descriptors: usize,
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Sets the soft limit of descriptors while it lives.
pub(crate) struct DescriptorLimit(Rlimit);

/// What the agent has told.
#[derive(Default)]
pub(crate) struct Seen {
    kinds: Mutex<Vec<&'static str>>,
    lines: Mutex<Vec<(tracing::Level, String)>>,
}

/// A container that calls as fast as it can.
struct Bystander {
    ended: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// A container whose listener is in a peer's hands.
pub(crate) struct Victim {
    thread: JoinHandle<(i32, Duration)>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Agent::new(resolve))
    }

    pub(crate) fn with(agent: Agent) -> Self {
        Self::start(agent, None)
    }

    /// With an agent that lets in `limit` connections at once: a quarter of the descriptors that it finds allowed.
    pub(crate) fn limited_to(limit: usize) -> Self {
        Self::start(Agent::new(resolve), Some(4 * limit))
    }

    fn start(agent: Agent, descriptors: Option<usize>) -> Self {
        let alone = alone();
        let _at_start = descriptors.map(DescriptorLimit::new);
        let dir = tempfile::tempdir().unwrap();
        let seen = Arc::new(Seen::default());
        let (observer, log) = (Arc::clone(&seen), Log(Arc::clone(&seen)));
        let agent = agent.engine(|engine| engine.observer = Some(observer));
        let socket = Socket::bind(dir.path().join("s")).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tracing::subscriber::with_default(log, || {
                runtime.block_on(agent.serve(socket, async move { drop(stopped.await) })).unwrap();
            });
        });
        let mut stage = Self {
            agent: Some(thread),
            stop: Some(stop),
            seen,
            bystander: None,
            descriptors: 0,
            dir,
            _alone: alone,
        };
        stage.bystander = Some(stage.bystander());
        // What is set up once is there by now.
        stage.serve_another();
        stage.settle();
        stage
    }

    /// From now on, the descriptors that are open are those that should be: the test has opened some itself.
    pub(crate) fn settle(&mut self) {
        self.descriptors = eventually_settled(open_descriptors);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// A connection, and a container whose listener `peer` may hand over. `peer` returns what it keeps open.
    pub(crate) fn peer<K>(&self, peer: impl FnOnce(&UnixStream, &OwnedFd) -> K) -> (Victim, UnixStream, K) {
        let stream = UnixStream::connect(self.socket()).unwrap();
        let (listener, victim) = victim();
        let kept = peer(&stream, &listener);
        (victim, stream, kept)
    }

    /// The whole story of a peer that is refused as `kind`: what it does is `peer`.
    pub(crate) fn refuses(&self, kind: &'static str, peer: impl FnOnce(&UnixStream, &OwnedFd)) {
        let (victim, stream, ()) = self.peer(peer);
        self.serve_another();
        assert_eq!(victim.returned(PROMPT), ENOSYS, "{kind}");
        self.tells(&[kind]);
        drop(stream);
        self.is_undisturbed();
    }

    /// The whole story of a peer that is odd, and served.
    pub(crate) fn serves(&self, what: &str, peer: impl FnOnce(&UnixStream, &OwnedFd)) {
        let (victim, stream, ()) = self.peer(peer);
        assert_eq!(victim.returned(PROMPT), SERVED, "{what}");
        drop(stream);
        self.is_undisturbed();
        assert!(self.kinds().is_empty(), "{what}: {:?}", self.kinds());
    }

    /// A container that does as it should is served meanwhile, and promptly.
    pub(crate) fn serve_another(&self) {
        let (victim, stream, ()) = self.peer(|stream, listener| {
            send(stream, state("another").as_bytes(), &[listener.as_raw_fd()]);
        });
        assert_eq!(victim.returned(PROMPT), SERVED, "a container beside it");
        drop(stream);
    }

    /// The agent counts these failures and no others, and tells of each in one line.
    pub(crate) fn tells(&self, kinds: &[&'static str]) {
        eventually(&format!("{kinds:?} is counted"), || self.kinds().len() >= kinds.len());
        assert_eq!(self.kinds(), kinds);
        let lines = self.warnings();
        assert_eq!(lines.len(), kinds.len(), "{lines:#?}");
        for (line, kind) in lines.iter().zip(kinds) {
            assert!(line.len() < 2000, "a line of {} bytes", line.len());
            assert!(!line.contains("kind=") || line.contains(&format!("kind=\"{kind}\"")), "{line}");
        }
        self.seen.kinds().clear();
        self.seen.lines().clear();
    }

    /// The bystander has had all its answers, in time, and there are as many descriptors as in the beginning.
    pub(crate) fn is_undisturbed(&self) {
        let before = self.descriptors;
        let opened = || open_descriptors().saturating_sub(before);
        eventually("the descriptors are as before", || opened() == 0);
        let bystander = self.bystander.as_ref().unwrap();
        assert_eq!(bystander.wrong.load(Ordering::Relaxed), 0, "wrong answers");
        let longest = Duration::from_micros(bystander.longest.load(Ordering::Relaxed));
        assert!(longest < PROMPT, "a call beside it took {longest:?}");
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.seen.kinds().clone()
    }

    /// Lines that somebody has to see.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let lines = self.seen.lines();
        lines
            .iter()
            .filter(|(level, _)| *level <= tracing::Level::WARN)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// All lines that contain `word`.
    pub(crate) fn lines(&self, word: &str) -> Vec<String> {
        self.seen
            .lines()
            .iter()
            .filter(|(_, line)| line.contains(word))
            .map(|(_, line)| line.clone())
            .collect()
    }

    fn bystander(&self) -> Bystander {
        let (ended, longest, wrong) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let theirs = (Arc::clone(&ended), Arc::clone(&longest), Arc::clone(&wrong));
        let (listener, thread) = container::start(&["getsid"], Flags::empty(), move || {
            let (ended, longest, wrong) = theirs;
            while !ended.load(Ordering::Relaxed) {
                let begin = Instant::now();
                wrong.fetch_add(u64::from(session() != SERVED), Ordering::Relaxed);
                let took = u64::try_from(begin.elapsed().as_micros()).unwrap();
                longest.fetch_max(took, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let stream = UnixStream::connect(self.socket()).unwrap();
        send(&stream, state("bystander").as_bytes(), &[listener.as_raw_fd()]);
        Bystander { ended, longest, wrong, thread }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bystander) = self.bystander.take() {
            bystander.ended.store(true, Ordering::Relaxed);
            bystander.thread.join().unwrap();
        }
        drop(self.stop.take());
        self.agent.take().unwrap().join().unwrap();
    }
}

impl DescriptorLimit {
    pub(crate) fn new(count: usize) -> Self {
        let earlier = getrlimit(Resource::Nofile);
        let current = Some(u64::try_from(count).unwrap());
        setrlimit(Resource::Nofile, Rlimit { current, maximum: earlier.maximum }).unwrap();
        Self(earlier)
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

impl Victim {
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What its call returned, once it has; not later than this after it was made.
    pub(crate) fn returned(self, within: Duration) -> i32 {
        eventually("its call returns", || self.thread.is_finished());
        let (value, took) = self.thread.join().unwrap();
        assert!(took < within, "its call took {took:?}");
        value
    }
}

impl Observer for Seen {
    fn listener_added(&self, _: &Container) -> Arc<dyn Meter> {
        struct Nothing;
        impl Meter for Nothing {
            fn answered(&self, _: Syscall, _: &'static str, _: Duration) {}
        }
        Arc::new(Nothing)
    }

    fn handshake_failed(&self, kind: &'static str) {
        self.kinds().push(kind);
    }
}

impl Seen {
    fn kinds(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(tracing::Level, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the lines of the agent's log.
struct Log(Arc<Seen>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("seccomp_agent")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lines().push((*event.metadata().level(), line.0));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Answers getsid.
#[allow(clippy::unnecessary_wraps)] // A resolver may fail.
pub(crate) fn resolve(_: &Container) -> Result<Registry, ResolveError> {
    let mut registry = Registry::new();
    registry.on("getsid", |_: &Call<'_>| Verdict::Return(SERVED.into()))?;
    Ok(registry)
}

/// A container that makes one call and returns what it got.
pub(crate) fn victim() -> (OwnedFd, Victim) {
    let (listener, thread) = container::start(&["getsid"], Flags::empty(), || {
        let begin = Instant::now();
        (session(), begin.elapsed())
    });
    (listener.into(), Victim { thread })
}

/// A state as runc sends it.
pub(crate) fn state(id: &str) -> String {
    format!(
        r#"{{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":1,"state":{{"id":"{id}","status":"creating"}}}}"#
    )
}

/// Sends everything, with the descriptors on the first byte. That the agent has closed the connection meanwhile
/// is its right.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[RawFd]) {
    let mut sent = match stream.send_with_fd(bytes, descriptors) {
        Ok(sent) => sent,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return,
        Err(error) => panic!("{error}"),
    };
    while sent < bytes.len() {
        match std::io::Write::write(&mut &*stream, &bytes[sent..]) {
            Ok(more) => sent += more,
            Err(_closed) => return,
        }
    }
}

/// The caller's session, or the negated errno.
fn session() -> i32 {
    // Not rustix's, which takes no 0: a session's leader may be in a pid namespace above ours.
    nix::unistd::getsid(None).map_or_else(|errno| -(errno as i32), nix::unistd::Pid::as_raw)
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir(Path::new("/proc/self/fd")).unwrap().count()
}

/// What `read` says once it has said the same for a while.
fn eventually_settled(read: impl Fn() -> usize) -> usize {
    let mut last = read();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(100));
        let now = read();
        if now == last {
            break;
        }
        last = now;
    }
    last
}
