use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use seccomp_agent_notify::Listener;
use seccomp_agent_registry::{Call, Container, Registry, Verdict};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::agent::Fallback;
use crate::engine::{Engine, EngineError, Observer};
use crate::handshake::{HandedOver, Handshake, HandshakeError};
use crate::peer::Peer;
use crate::resolver::{ResolveError, Resolver};

/// Connections that are not yet handed over. A silent one costs a descriptor and a few hundred bytes.
pub const MAX_CONNECTIONS: usize = 4096;
/// They may have this share of the descriptors: the others are for listeners and for what handlers open.
const DESCRIPTOR_SHARE: u64 = 4;
/// Silent connections that go when no descriptor is left: to accept another, to receive what it hands over, and
/// for the handlers.
const MAKE_ROOM: usize = 16;
/// How long to wait before accepting again after accept has failed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where connections come in, and what becomes of each.
pub(crate) struct Door {
    pub(crate) engine: Engine,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) fallback: Fallback,
    pub(crate) resolve_deadline: Duration,
    pub(crate) max_connections: usize,
    pub(crate) silent: Mutex<Silent>,
}

/// Connections that have said nothing yet, oldest first.
#[derive(Default)]
pub(crate) struct Silent {
    count: u64,
    connections: BTreeMap<u64, AbortHandle>,
}

/// How many connections there may be at once, with the descriptors that this process may have.
pub(crate) fn max_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / DESCRIPTOR_SHARE).unwrap_or(usize::MAX).clamp(1, MAX_CONNECTIONS)
}

impl Door {
    /// Whether another connection may come in. At the limit a silent one makes room; where none is silent, all
    /// have deadlines, and the next waits in the socket's backlog.
    pub(crate) fn has_room(&self, connections: &JoinSet<()>) -> bool {
        connections.len() < self.max_connections || !self.silent().connections.is_empty()
    }

    /// Lets a connection in. What has been said by now is served here and now; what has not gets a task.
    pub(crate) fn admit(door: &Arc<Self>, connections: &mut JoinSet<()>, stream: UnixStream) {
        let peer = Peer::of(&stream);
        let runtime = door.resolver.asks_for_runtime().then(|| peer.as_ref().ok()?.program()).flatten();
        let mut handshake = Handshake::new(stream);
        let theirs = Arc::clone(door);
        match peer.and_then(|peer| peer.check()).and_then(|()| handshake.read_at_once()).transpose() {
            Some(outcome) => {
                run(connections, async move { theirs.finish(handshake, outcome, runtime).await });
            }
            None => door.wait(connections, |number| async move {
                theirs.waiting(handshake, number, runtime).await;
            }),
        }
    }

    /// Starts a task for a connection that may be silent for ever. At the limit another one goes.
    fn wait<F>(&self, connections: &mut JoinSet<()>, task: impl FnOnce(u64) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if connections.len() >= self.max_connections {
            self.evict(1);
        }
        // Held until the connection is in the list: its task takes it off again.
        let mut silent = self.silent();
        silent.count += 1;
        let number = silent.count;
        silent.connections.insert(number, connections.spawn(task(number)));
    }

    /// A connection could not be accepted. `said_first` is whether the one before could: a lasting failure is told
    /// once.
    pub(crate) async fn not_accepted(&self, error: &io::Error, said_first: bool) {
        let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        if exhausted.contains(&error.raw_os_error()) && self.evict(MAKE_ROOM) > 0 {
            // Lets those connections end.
            tokio::task::yield_now().await;
            return;
        }
        if said_first {
            tracing::error!(%error, "no connection can be accepted");
            self.count_failure("accept");
        }
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }

    /// The task of a connection has ended.
    pub(crate) fn ended(ended: &Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            panicked();
        }
    }

    async fn waiting(&self, handshake: Handshake<UnixStream>, number: u64, runtime: Option<String>) {
        let mut handshake = match handshake.watch() {
            Ok(handshake) => handshake,
            Err(error) => {
                self.silent().connections.remove(&number);
                return self.failed(&error);
            }
        };
        let begun = handshake.begin().await;
        self.silent().connections.remove(&number);
        let outcome = match begun.transpose() {
            Some(outcome) => outcome,
            None => handshake.complete().await,
        };
        self.finish(handshake, outcome, runtime).await;
    }

    async fn finish<S: AsFd + Send + 'static>(
        &self,
        handshake: Handshake<S>,
        outcome: Result<HandedOver, HandshakeError>,
        runtime: Option<String>,
    ) {
        match outcome {
            Ok((listener, mut container)) => {
                container.runtime = runtime;
                tokio::join!(handshake.close(), self.serve(listener, container));
            }
            Err(error) => {
                self.failed(&error);
                handshake.close().await;
            }
        }
    }

    async fn serve(&self, listener: Listener, container: Container) {
        let unserved = Unserved(&container);
        let registry = self.resolve(&container).await;
        std::mem::forget(unserved);
        let container = Arc::new(container);
        let handlers = registry.names().len();
        if let Err(error) = self.engine.serve(listener, Arc::clone(&container), registry) {
            return self.refused(&error, &container);
        }
        tracing::info!(
            container = container.id,
            pid = container.pid,
            exec = container.is_exec(),
            handlers,
            "serving"
        );
        tracing::debug!(container = container.id, metadata = container.metadata, annotations = ?container.annotations, "asked for");
    }

    async fn resolve(&self, container: &Container) -> Arc<Registry> {
        let resolving = ask(&*self.resolver, container);
        let reason = match tokio::time::timeout(self.resolve_deadline, resolving).await {
            Ok(Ok(registry)) => return registry,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer after {:?}", self.resolve_deadline),
        };
        let fallback = self.fallback;
        tracing::error!(container = container.id, reason, ?fallback, "the container could not be resolved");
        let mut registry = Registry::new();
        if fallback == Fallback::Refuse {
            registry.otherwise(|call: &Call<'_>| {
                call.note(|noted| {
                    noted.because("the container could not be resolved");
                });
                Verdict::Errno(Errno::PERM)
            });
        }
        Arc::new(self.resolver.unresolved(container, registry))
    }

    /// Closes up to `count` silent connections, the oldest first; how many there were.
    fn evict(&self, count: usize) -> usize {
        let oldest: Vec<_> =
            std::iter::from_fn(|| self.silent().connections.pop_first()).take(count).collect();
        for (_, connection) in &oldest {
            connection.abort();
            self.failed(&HandshakeError::Evicted);
        }
        oldest.len()
    }

    fn failed(&self, error: &HandshakeError) {
        let kind = error.kind();
        if matches!(error, HandshakeError::Closed { received: 0 }) {
            // Somebody looked whether anybody listens: nothing is wrong.
            tracing::debug!(kind, %error, "a connection was refused");
        } else {
            tracing::warn!(kind, %error, "a connection was refused");
        }
        self.count_failure(kind);
    }

    fn refused(&self, error: &EngineError, container: &Container) {
        tracing::error!(container = container.id, %error, "a listener was refused");
        let kind = if matches!(error, EngineError::Duplicate { .. }) { "duplicate" } else { "engine" };
        self.count_failure(kind);
    }

    fn count_failure(&self, kind: &'static str) {
        if let Some(observer) = &self.observer {
            observer.handshake_failed(kind);
        }
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container that is being resolved. Dropped, it says that the agent has stopped before it was served.
struct Unserved<'a>(&'a Container);

impl Drop for Unserved<'_> {
    fn drop(&mut self) {
        tracing::warn!(
            container = self.0.id,
            pid = self.0.pid,
            "not served yet: its notified calls fail with ENOSYS from now on"
        );
    }
}

/// Runs `serving` as far as it goes at once, which is to its end unless a resolver has to ask somebody, and the rest as
/// a task.
fn run(connections: &mut JoinSet<()>, serving: impl Future<Output = ()> + Send + 'static) {
    let mut serving = Box::pin(serving);
    let mut context = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(&mut context))) {
        Ok(Poll::Ready(())) => {}
        Ok(Poll::Pending) => drop(connections.spawn(serving)),
        Err(_panic) => panicked(),
    }
}

fn panicked() {
    tracing::error!("a bug: serving a connection panicked, and its listener is closed");
}

/// Asks the resolver; one that panics has failed like any other.
async fn ask(resolver: &dyn Resolver, container: &Container) -> Result<Arc<Registry>, ResolveError> {
    const PANICKED: &str = "the resolver panicked";
    let resolving = catch_unwind(AssertUnwindSafe(|| resolver.resolve(container)));
    let mut resolving = resolving.map_err(|_panic| PANICKED)?;
    std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| resolving.as_mut().poll(context)))
            .unwrap_or_else(|_panic| Poll::Ready(Err(PANICKED.into())))
    })
    .await
}
