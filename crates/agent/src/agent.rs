use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use seccomp_agent_registry::{Call, Container, Errno, Registry, Verdict};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, JoinSet};

use crate::engine::{Config, Engine, EngineError};
use crate::handshake::{self, HandshakeError};
use crate::resolver::Resolver;
use crate::silence;
use crate::socket::{Socket, SocketError};

/// An agent: a resolver, and how to serve what it resolves.
pub struct Agent {
    resolver: Arc<dyn Resolver>,
    engine: Config,
    fallback: Fallback,
    resolve_deadline: Duration,
}

/// What a container gets when its resolver fails or takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Its notified calls continue.
    Continue,
    /// Its notified calls fail with EPERM.
    #[default]
    Refuse,
}

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// There is no socket to listen on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The threads that answer calls could not be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// One step of the control plane failed.
    #[error("{step} failed: {source}")]
    Runtime {
        /// Which.
        step: &'static str,
        /// What went wrong.
        source: io::Error,
    },
}

/// Connections that are not yet handed over. A silent one costs a descriptor and a few hundred bytes.
const MAX_CONNECTIONS: usize = 4096;
/// How long a resolver may take by default.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(10);
/// How long handlers have to return when the agent stops. It has to be gone after five seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait before accepting again after accept has failed, as it does without free descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

impl Agent {
    /// An agent that asks `resolver` which handlers a container gets.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self {
            resolver: Arc::new(resolver),
            engine: Config::default(),
            fallback: Fallback::default(),
            resolve_deadline: RESOLVE_DEADLINE,
        }
    }

    /// Changes how the engine is set up.
    #[must_use]
    pub fn engine(mut self, configure: impl FnOnce(&mut Config)) -> Self {
        configure(&mut self.engine);
        self
    }

    /// What a container gets when the resolver fails, or has no answer after `deadline`.
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback, deadline: Duration) -> Self {
        self.fallback = fallback;
        self.resolve_deadline = deadline;
        self
    }

    /// Listens on `path` and serves until SIGTERM or SIGINT. Blocks. Raises the limit of open descriptors as far
    /// as it may: each listener is one.
    pub fn run(self, path: impl AsRef<Path>) -> Result<Vec<Arc<Container>>, AgentError> {
        raise_descriptor_limit();
        let socket = Socket::bind(path)?;
        let step = |step| move |source| AgentError::Runtime { step, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(step("starting the control plane"))?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(step("waiting for SIGTERM"))?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(step("waiting for SIGINT"))?;
            self.serve(socket, async move {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            })
            .await
        })
    }

    /// Serves the connections of `socket` until `stop` is ready; then accepts no more, answers what is in flight
    /// and returns within five seconds. Returns the containers whose notified calls fail with ENOSYS from then
    /// on. Needs a tokio runtime with I/O and time.
    pub async fn serve(
        self,
        mut socket: Socket,
        stop: impl Future<Output = ()>,
    ) -> Result<Vec<Arc<Container>>, AgentError> {
        let listener = socket
            .listener()
            .map_err(|source| AgentError::Runtime { step: "watching the socket", source })?;
        let door = Arc::new(Door {
            engine: Engine::start(self.engine.clone())?,
            agent: self,
            silent: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => Door::admit(&door, &mut connections, stream),
                    Err(error) => {
                        tracing::error!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = &mut stop => break,
            }
        }
        drop((listener, socket));
        connections.shutdown().await;
        let Some(door) = Arc::into_inner(door) else {
            return Err(AgentError::Runtime {
                step: "ending the connections",
                source: io::Error::other("one is still there"),
            });
        };
        let left = door.engine.stop(STOP_PATIENCE);
        for container in &left {
            tracing::warn!(
                container = container.id,
                pid = container.pid,
                "its notified calls fail with ENOSYS from now on"
            );
        }
        Ok(left)
    }
}

/// Where connections come in.
struct Door {
    engine: Engine,
    agent: Agent,
    /// Those that have said nothing yet, oldest first.
    silent: Mutex<Silent>,
}

#[derive(Default)]
struct Silent {
    count: u64,
    connections: BTreeMap<u64, AbortHandle>,
}

impl Door {
    fn admit(door: &Arc<Self>, connections: &mut JoinSet<()>, stream: UnixStream) {
        if connections.len() >= MAX_CONNECTIONS
            && let Some((_, oldest)) = door.silent().connections.pop_first()
        {
            oldest.abort();
            door.failed(&HandshakeError::Evicted);
        }
        // Held until the connection is in the list: its task takes it off again.
        let mut silent = door.silent();
        silent.count += 1;
        let number = silent.count;
        let theirs = Arc::clone(door);
        let task = connections.spawn(async move {
            if let Err(error) = theirs.handshake(stream, number).await {
                theirs.failed(&error);
            }
        });
        silent.connections.insert(number, task);
    }

    async fn handshake(&self, stream: UnixStream, number: u64) -> Result<(), HandshakeError> {
        let readable = match check_peer(&stream) {
            Ok(()) => silence::broken(&stream).await.map_err(HandshakeError::Read),
            Err(error) => Err(error),
        };
        self.silent().connections.remove(&number);
        readable?;
        let (listener, container) = handshake::receive(stream).await?;
        let registry = self.resolve(&container).await;
        let container = Arc::new(container);
        tracing::info!(
            container = container.id,
            pid = container.pid,
            exec = container.is_exec(),
            handlers = registry.names().len(),
            "serving"
        );
        tracing::debug!(container = container.id, metadata = container.metadata, annotations = ?container.annotations, "asked for");
        if let Err(error) = self.engine.serve(listener, Arc::clone(&container), registry) {
            self.refused(&error, &container);
        }
        Ok(())
    }

    async fn resolve(&self, container: &Container) -> Arc<Registry> {
        let resolving = self.agent.resolver.resolve(container);
        let reason = match tokio::time::timeout(self.agent.resolve_deadline, resolving).await {
            Ok(Ok(registry)) => return registry,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer after {:?}", self.agent.resolve_deadline),
        };
        let fallback = self.agent.fallback;
        tracing::error!(container = container.id, reason, ?fallback, "the container could not be resolved");
        let mut registry = Registry::new();
        if fallback == Fallback::Refuse {
            registry.otherwise(|_: &Call<'_>| Verdict::Errno(Errno::PERM));
        }
        Arc::new(registry)
    }

    fn failed(&self, error: &HandshakeError) {
        tracing::warn!(kind = error.kind(), %error, "a connection was refused");
        self.count_failure(error.kind());
    }

    fn refused(&self, error: &EngineError, container: &Container) {
        tracing::error!(container = container.id, %error, "a listener was refused");
        let kind = if matches!(error, EngineError::Duplicate { .. }) { "duplicate" } else { "engine" };
        self.count_failure(kind);
    }

    fn count_failure(&self, kind: &'static str) {
        if let Some(observer) = &self.agent.engine.observer {
            observer.handshake_failed(kind);
        }
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Raises the soft limit of open descriptors to the hard limit.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors could not be raised");
    }
}
