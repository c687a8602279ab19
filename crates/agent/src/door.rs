use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use seccomp_agent_notify::Listener;
use seccomp_agent_registry::{Call, Container, Registry, Verdict};
use tokio::net::UnixStream;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::agent::Fallback;
use crate::engine::{Engine, EngineError, Observer};
use crate::handshake::{HandshakeError, Message};
use crate::peer;
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

    /// Lets a connection in: it is served by a task of its own.
    pub(crate) fn admit(door: &Arc<Self>, connections: &mut JoinSet<()>, stream: UnixStream) {
        if connections.len() >= door.max_connections {
            door.evict(1);
        }
        // Held until the connection is in the list: its task takes it off again.
        let mut silent = door.silent();
        silent.count += 1;
        let number = silent.count;
        let theirs = Arc::clone(door);
        let task = connections.spawn(async move { theirs.connection(stream, number).await });
        silent.connections.insert(number, task);
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
    pub(crate) fn ended(ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "a bug: the task of a connection panicked, and its listener is closed");
        }
    }

    async fn connection(&self, stream: UnixStream, number: u64) {
        let mut message = Message::default();
        match self.handshake(&stream, &mut message, number).await {
            Ok((listener, container)) => {
                tokio::join!(message.close(stream), self.serve(listener, container));
            }
            Err(error) => {
                self.failed(&error);
                message.close(stream).await;
            }
        }
    }

    async fn handshake(
        &self,
        stream: &UnixStream,
        message: &mut Message,
        number: u64,
    ) -> Result<(Listener, Container), HandshakeError> {
        let runtime = peer::program(stream);
        let begun = match check_peer(stream) {
            Ok(()) => Message::begins(stream).await,
            Err(error) => Err(error),
        };
        self.silent().connections.remove(&number);
        begun?;
        let (listener, mut container) = message.receive(stream).await?;
        container.runtime = runtime;
        Ok((listener, container))
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
            registry.otherwise(|_: &Call<'_>| Verdict::Errno(Errno::PERM));
        }
        Arc::new(registry)
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

/// The socket's mode keeps others out; this keeps them out where somebody has changed it.
fn check_peer(stream: &UnixStream) -> Result<(), HandshakeError> {
    let uid = stream.peer_cred().map_err(HandshakeError::Read)?.uid();
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(HandshakeError::Peer { uid })
    }
}
