//! Against a gRPC server that stands in Falco's place, on a socket as its plugin's.

#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use seccomp_agent_falco::{Falco, Workload};
use seccomp_agent_registry::{Call, Container, Notification, Registry, Verdict};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What the plugin reads of an event: fields by the numbers of its protocol file, read here independently.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Event {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    pid: u64,
    #[prost(string, tag = "3")]
    syscall: String,
    #[prost(message, optional, tag = "4")]
    k8s: Option<Origin>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Origin {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    pod: String,
    #[prost(string, tag = "3")]
    container: String,
    #[prost(uint64, tag = "4")]
    pid: u64,
    #[prost(uint64, tag = "5")]
    pid_filter: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Nothing {}

/// Falco's plugin.
#[derive(Clone)]
struct Plugin(Sender<Event>);

impl UnaryService<Event> for Plugin {
    type Response = Nothing;
    type Future = BoxFuture<Response<Nothing>, Status>;

    fn call(&mut self, request: Request<Event>) -> Self::Future {
        let taken = self.0.send(request.into_inner());
        Box::pin(
            async move { taken.map(|()| Response::new(Nothing {})).map_err(|_| Status::internal("gone")) },
        )
    }
}

impl Service<HttpRequest<tonic::body::Body>> for Plugin {
    type Response = HttpResponse<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<tonic::body::Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/seccompagentfalco.SeccompAgentFalco/PublishEvent");
        let plugin = self.clone();
        Box::pin(async move {
            Ok(Grpc::new(ProstCodec::<Nothing, Event>::default()).unary(plugin, request).await)
        })
    }
}

impl NamedService for Plugin {
    const NAME: &'static str = "seccompagentfalco.SeccompAgentFalco";
}

fn listen(socket: &Path) -> Receiver<Event> {
    let (sender, events) = channel();
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
            let server = tonic::transport::Server::builder().add_service(Plugin(sender));
            server.serve_with_incoming(incoming).await.map_err(StdError::from).unwrap();
        });
    });
    events
}

fn registry(falco: &Falco) -> Registry {
    let mut registry = Registry::new();
    registry.on("mkdir", |_: &Call<'_>| Verdict::Return(7)).unwrap();
    let workload = Workload { namespace: "shop".into(), pod: "web-0".into(), container: "nginx".into() };
    registry.layer(&falco.layer(workload));
    registry
}

#[test]
fn falco_is_told_of_a_call_and_who_made_it() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("falco.sock");
    let events = listen(&socket);
    let falco = Falco::start(&socket).unwrap();
    let mut container = Container::named("c");
    (container.init_pid, container.pid) = (50, 60);
    let notification = Notification::sample("mkdir");
    let call = Call::new(&notification, &container);
    // Falco may take a moment to listen; until then events are left out.
    let deadline = Instant::now() + Duration::from_secs(20);
    let event = loop {
        assert_eq!(registry(&falco).answer(&call), Verdict::Return(7));
        if let Ok(event) = events.recv_timeout(Duration::from_millis(200)) {
            break event;
        }
        assert!(Instant::now() < deadline, "no event; {} were left out", falco.left_out());
    };
    assert_eq!((event.id, event.pid), (notification.id.as_raw(), notification.tid.into()));
    assert_eq!(event.syscall, "mkdir");
    let expected = Origin {
        namespace: "shop".into(),
        pod: "web-0".into(),
        container: "nginx".into(),
        pid: 50,
        pid_filter: 60,
    };
    assert_eq!(event.k8s, Some(expected));
}

#[test]
fn no_call_waits_for_a_falco_that_is_away_or_mute() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mute = folder.path().join("mute.sock");
    // Takes connections, and never says a word.
    let _mute = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    for socket in [folder.path().join("nobody.sock"), mute] {
        let falco = Falco::start(&socket).unwrap();
        let (notification, container) = (Notification::sample("mkdir"), Container::named("c"));
        let registry = registry(&falco);
        for _ in 0..20_000 {
            assert_eq!(registry.answer(&Call::new(&notification, &container)), Verdict::Return(7));
        }
        assert!(falco.left_out() >= 20_000 - 300, "{socket:?}: one container fills the queue");
    }
}
