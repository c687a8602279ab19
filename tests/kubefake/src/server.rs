//! The server: lists and watches, over HTTP or HTTPS.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, Fault};
use crate::tls::{Authority, Secured};

/// A server, until it is dropped: then it is away, with all connections.
pub struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// One that tells of this cluster, at `address` or anywhere.
    pub fn start(cluster: &Cluster, address: Option<SocketAddr>) -> Self {
        Self::serving(cluster, address, None)
    }

    /// The same over TLS, with a certificate of this authority.
    pub fn start_secured(cluster: &Cluster, address: Option<SocketAddr>, authority: &Authority) -> Self {
        Self::serving(cluster, address, Some(authority))
    }

    fn serving(cluster: &Cluster, address: Option<SocketAddr>, authority: Option<&Authority>) -> Self {
        let listener = TcpListener::bind(address.unwrap_or_else(own_address)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = authority.map(|authority| authority.acceptor(address.ip()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let pods = Router::new().route("/api/v1/pods", get(answer)).with_state(cluster.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            match acceptor {
                None => axum::serve(listener, pods).await.unwrap(),
                Some(acceptor) => axum::serve(Secured { listener, acceptor }, pods).await.unwrap(),
            }
        });
        Self { address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not before its sockets are closed is it away. A thread that runs tasks may not wait for that itself.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(60))).join().unwrap();
        }
    }
}

/// An address that nobody else takes while its server is away, and any port.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, high, low, NUMBER.fetch_add(1, Ordering::Relaxed)], 0))
}

async fn answer(State(cluster): State<Cluster>, Query(asked): Query<BTreeMap<String, String>>) -> Response {
    let node = cluster.node;
    let selector = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    if asked.get("fieldSelector") != Some(&selector) {
        return refusal(StatusCode::FORBIDDEN).into_response();
    }
    if asked.get("watch").is_some_and(|watch| watch == "true") {
        let from = asked.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        return watching(cluster, from);
    }
    let fault = {
        let mut kept = cluster.kept();
        kept.lists += 1;
        kept.fault
    };
    match fault {
        Some(Fault::Says(status)) => {
            return refusal(StatusCode::from_u16(status).unwrap()).into_response();
        }
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        None => {}
    }
    let kept = cluster.kept();
    let items: Vec<_> = kept.pods.values().filter(|pod| pod["spec"]["nodeName"] == node).collect();
    let version = kept.version.to_string();
    let list = json!({
        "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items,
    });
    list.to_string().into_response()
}

fn refusal(status: StatusCode) -> impl IntoResponse {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(),
        "message": "as the test wants it", "reason": "Test",
    });
    (status, body.to_string())
}

/// All events after the version `from`, as they come.
fn watching(cluster: Cluster, from: u64) -> Response {
    let changes = cluster.changes.subscribe();
    let (cuts, number) = {
        let mut kept = cluster.kept();
        kept.watches += 1;
        (kept.cuts, kept.watches)
    };
    let lines = stream::unfold((cluster, changes, from), move |(cluster, mut changes, told)| async move {
        loop {
            changes.borrow_and_update();
            let next = {
                let kept = cluster.kept();
                if kept.cuts != cuts {
                    return None;
                }
                let is_hushed = number <= kept.hushed;
                let is_forgotten = told < kept.oldest;
                let gone = json!({
                    "type": "ERROR",
                    "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "gone"},
                });
                let gone = is_forgotten.then(|| (u64::MAX, format!("{gone}\n")));
                let of_node = |line: &str| {
                    let event: Option<Value> = serde_json::from_str(line).ok();
                    event.is_none_or(|event| event["object"]["spec"]["nodeName"] == cluster.node)
                };
                let event = kept.events.iter().find(|(version, line)| *version > told && of_node(line));
                gone.or_else(|| event.cloned()).filter(|_| !is_hushed)
            };
            match next {
                Some((version, line)) => {
                    return Some((Ok::<_, std::convert::Infallible>(line), (cluster, changes, version)));
                }
                None => changes.changed().await.ok()?,
            }
        }
    });
    Body::from_stream(lines).into_response()
}
