//! A gRPC server that stands in Falco's place, on a socket as its plugin's. What goes wrong in here ends the test.

#![allow(clippy::unwrap_used)]
#![allow(clippy::missing_panics_doc)]

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What the plugin reads of an event: fields by the numbers of its protocol file, read here independently.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    /// The notification's id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The calling thread.
    #[prost(uint64, tag = "2")]
    pub pid: u64,
    /// The call's name.
    #[prost(string, tag = "3")]
    pub syscall: String,
    /// Who made it.
    #[prost(message, optional, tag = "4")]
    pub k8s: Option<Origin>,
}

/// Who made a call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Origin {
    /// The pod's namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The pod.
    #[prost(string, tag = "2")]
    pub pod: String,
    /// The container's name in the pod.
    #[prost(string, tag = "3")]
    pub container: String,
    /// The container's init.
    #[prost(uint64, tag = "4")]
    pub pid: u64,
    /// The process whose filter it is.
    #[prost(uint64, tag = "5")]
    pub pid_filter: u64,
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

/// Listens on this socket from some moment on, for as long as the process lives, and passes on what it is told.
pub fn listen(socket: &Path) -> Receiver<Event> {
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
