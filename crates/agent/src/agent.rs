use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit, setrlimit};
use seccomp_agent_registry::Container;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::door::{Door, max_connections};
use crate::engine::{Config, Engine, EngineError};
use crate::resolver::Resolver;
use crate::socket::{Socket, SocketError};

/// An agent: a resolver, and how to serve what it resolves.
pub struct Agent {
    resolver: Arc<dyn Resolver>,
    engine: Config,
    fallback: Fallback,
    resolve_deadline: Duration,
    prepare: Box<dyn FnOnce() -> io::Result<()> + Send>,
    ready: Box<dyn FnOnce() + Send>,
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

/// How long a resolver may take by default.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(10);
/// Descriptors that there is room for from the start, at 8 bytes of kernel memory each.
const ROOM: u64 = 16_384;
/// How long handlers have to return when the agent stops. It has to be gone after five seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

impl Agent {
    /// An agent that asks `resolver` which handlers a container gets.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self {
            resolver: Arc::new(resolver),
            engine: Config::default(),
            fallback: Fallback::default(),
            resolve_deadline: RESOLVE_DEADLINE,
            prepare: Box::new(|| Ok(())),
            ready: Box::new(|| {}),
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

    /// Calls `prepare` once, on the thread that accepts connections, when the threads that answer calls have been started
    /// and before anything is accepted: what confines a thread and those that it starts then confines the control
    /// plane, and nobody who acts for a container. Where it fails, the agent does not serve.
    #[must_use]
    pub fn before_serving(mut self, prepare: impl FnOnce() -> io::Result<()> + Send + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Calls `tell` once, when containers are served from now on.
    #[must_use]
    pub fn on_ready(mut self, tell: impl FnOnce() + Send + 'static) -> Self {
        self.ready = Box::new(tell);
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
            observer: self.engine.observer.clone(),
            engine: Engine::start(self.engine)?,
            resolver: self.resolver,
            fallback: self.fallback,
            resolve_deadline: self.resolve_deadline,
            max_connections: max_connections(),
            silent: Mutex::default(),
        });
        (self.prepare)()
            .map_err(|source| AgentError::Runtime { step: "preparing the control plane", source })?;
        (self.ready)();
        let mut connections = JoinSet::new();
        let mut accepting = true;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept(), if door.has_room(&connections) => match accepted {
                    Ok(stream) => {
                        accepting = true;
                        Door::admit(&door, &mut connections, stream);
                    }
                    Err(error) => {
                        door.not_accepted(&error, std::mem::replace(&mut accepting, false)).await;
                    }
                },
                Some(ended) = connections.join_next() => Door::ended(&ended),
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

/// Raises the soft limit of open descriptors to the hard limit, and has the kernel make room for many: best called
/// while there is one thread. Growing the table of a process with more waits for an RCU grace period, some
/// milliseconds, each time that it doubles, and a node that starts all its containers would wait for each.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors could not be raised");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).min(ROOM);
    let last = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX);
    let made = eventfd(0, EventfdFlags::CLOEXEC).and_then(|any| fcntl_dupfd_cloexec(any, last));
    if let Err(error) = made {
        tracing::warn!(%error, descriptors = most, "no room could be made for descriptors");
    }
}
