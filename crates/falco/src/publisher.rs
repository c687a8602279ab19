use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::event::{METHOD, PublishEventRequest, PublishEventResponse};

/// Where Falco's plugin listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/seccomp-agent-falco-plugin/seccomp-agent-falco-plugin.sock";

/// How many events wait for Falco: bursts of some busy containers, at some 200 bytes each.
const MAX_WAITING: usize = 4096;

/// How many of one container: others have room beside one that does nothing but make calls.
const MAX_WAITING_EACH: usize = 256;

/// How often it is said that events are left out.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// How long Falco may take for one event; as long as its plugin's users wait today.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection to Falco: a thread that sends events and connects again whenever Falco comes back. It ends when
/// the last clone of this and of its layers is gone and all events are sent.
#[derive(Clone, Debug)]
pub struct Falco {
    waiting: mpsc::Sender<Waiting>,
    left_out: Arc<AtomicU64>,
    complained: Arc<Mutex<Option<Instant>>>,
}

/// An event, counted among those of its container until it is sent.
#[derive(Debug)]
struct Waiting {
    event: PublishEventRequest,
    _counted: Counted,
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no connection could be set up. That nobody listens is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Such a path cannot be said to the connection.
    #[error("{0:?} is no path of a unix socket")]
    Socket(std::path::PathBuf),
    /// The thread or its event loop could not be had.
    #[error("cannot start the thread that talks to Falco")]
    Start(#[source] io::Error),
}

impl Falco {
    /// Starts the thread. Nothing is sent before the first event.
    pub fn start(socket: &Path) -> Result<Self, StartError> {
        let unusable = || StartError::Socket(socket.to_owned());
        let address = format!("unix://{}", socket.to_str().ok_or_else(unusable)?);
        let endpoint = Endpoint::from_shared(address).map_err(|_| unusable())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Start)?;
        let (waiting, events) = mpsc::channel(MAX_WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let publisher = Publisher { events, left_out: Arc::clone(&left_out), is_away: false };
        let run = move || runtime.block_on(async { publisher.run(endpoint.connect_lazy()).await });
        std::thread::Builder::new().name("seccomp-falco".to_owned()).spawn(run).map_err(StartError::Start)?;
        Ok(Self { waiting, left_out, complained: Arc::default() })
    }

    /// How many events were left out so far, because Falco was away or did not keep up.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Puts an event of a container of which so many are `waiting` into the queue, if there is room. Never waits.
    pub(crate) fn publish(&self, waiting: &Arc<AtomicUsize>, event: impl FnOnce() -> PublishEventRequest) {
        let others = waiting.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(waiting));
        match self.waiting.try_reserve() {
            Ok(place) if others < MAX_WAITING_EACH => {
                place.send(Waiting { event: event(), _counted: counted });
            }
            _ => self.leave_out(),
        }
    }

    fn leave_out(&self) {
        let left_out = self.left_out.fetch_add(1, Ordering::Relaxed) + 1;
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::warn!(left_out, "Falco does not keep up, and is not told of every call");
        }
    }
}

/// Who sends what waits.
struct Publisher {
    events: mpsc::Receiver<Waiting>,
    left_out: Arc<AtomicU64>,
    is_away: bool,
}

impl Publisher {
    async fn run(mut self, channel: Channel) {
        // Connects with the first event, and again with each after the connection is lost.
        let mut falco = Grpc::new(channel);
        while let Some(Waiting { event, _counted }) = self.events.recv().await {
            let sent = timeout(PATIENCE, send(&mut falco, event)).await;
            self.note(sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))));
        }
    }

    /// Says once that Falco is away, and once that it is back.
    fn note(&mut self, sent: Result<(), Status>) {
        match sent {
            Ok(()) if self.is_away => {
                let left_out = self.left_out.load(Ordering::Relaxed);
                tracing::info!(left_out, "Falco is back");
                self.is_away = false;
            }
            Ok(()) => {}
            Err(status) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                if !self.is_away {
                    tracing::warn!(error = %status, "Falco does not take events; they are left out");
                    self.is_away = true;
                }
            }
        }
    }
}

async fn send(falco: &mut Grpc<Channel>, event: PublishEventRequest) -> Result<(), Status> {
    falco.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<_, PublishEventResponse>::default();
    falco.unary(Request::new(event), PathAndQuery::from_static(METHOD), codec).await?;
    Ok(())
}
