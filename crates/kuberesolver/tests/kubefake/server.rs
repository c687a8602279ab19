//! An API server that knows pods only, and can fail in the ways that real ones do.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
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
use tokio::sync::watch;

/// What etcd keeps: it outlives the server.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The node whose pods may be asked for.
    node: &'static str,
    kept: Arc<Mutex<Kept>>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Kept {
    pods: BTreeMap<String, Value>,
    version: u64,
    /// What watchers are told, by the version that it made.
    events: Vec<(u64, String)>,
    /// The version before which all events are forgotten.
    oldest: u64,
    /// How often watches were cut.
    cuts: u64,
    fault: Option<Fault>,
    lists: usize,
}

/// What the server does in place of answering well.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It answers with this.
    Says(StatusCode),
    /// It lists this much later.
    Slow(Duration),
}

/// A server, until it is dropped: then it is away, with all connections.
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// The node whose pods are asked for, mostly.
pub(crate) const NODE: &str = "worker-1";

/// A pod of this node, or of another.
pub(crate) fn pod(name: &str, uid: &str, node: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "labels": {}},
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "nginx:1"}]},
    })
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::of(NODE)
    }

    /// One whose pods of this node are asked for.
    pub(crate) fn of(node: &'static str) -> Self {
        Self { node, kept: Arc::default(), changes: watch::Sender::new(()) }
    }

    /// A pod is there, or has changed.
    pub(crate) fn put(&self, mut pod: Value) {
        let mut kept = self.kept();
        kept.version += 1;
        pod["metadata"]["resourceVersion"] = kept.version.to_string().into();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if kept.pods.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        kept.tell(json!({"type": kind, "object": pod}).to_string());
        kept.pods.insert(name, pod);
        drop(kept);
        self.changes.send_replace(());
    }

    /// A pod is gone.
    pub(crate) fn remove(&self, name: &str) {
        let mut kept = self.kept();
        kept.version += 1;
        let mut pod = kept.pods.remove(name).unwrap();
        pod["metadata"]["resourceVersion"] = kept.version.to_string().into();
        kept.tell(json!({"type": "DELETED", "object": pod}).to_string());
        drop(kept);
        self.changes.send_replace(());
    }

    /// Watchers are told something that is no event.
    pub(crate) fn babble(&self) {
        let mut kept = self.kept();
        kept.version += 1;
        kept.tell("{\"type\": \"ADDED\", \"obj".to_owned());
        drop(kept);
        self.changes.send_replace(());
    }

    /// All watches end, without a word.
    pub(crate) fn cut(&self) {
        self.kept().cuts += 1;
        self.changes.send_replace(());
    }

    /// What has happened so far is forgotten, as by a compaction: whoever has not been told yet gets 410 Gone.
    pub(crate) fn forget(&self) {
        let mut kept = self.kept();
        kept.oldest = kept.version;
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.kept().fault = fault;
    }

    /// How often pods were listed, or were to be.
    pub(crate) fn lists(&self) -> usize {
        self.kept().lists
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

impl Kept {
    fn tell(&mut self, line: String) {
        self.events.push((self.version, line + "\n"));
    }
}

impl Server {
    /// One that tells of this cluster, at `address` or anywhere.
    pub(crate) fn start(cluster: &Cluster, address: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address.unwrap_or_else(own_address)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let pods = Router::new().route("/api/v1/pods", get(answer)).with_state(cluster.clone());
        runtime.spawn(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), pods).await.unwrap();
        });
        Self { address, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
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
        Some(Fault::Says(status)) => return refusal(status).into_response(),
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
    let cuts = cluster.kept().cuts;
    let lines = stream::unfold((cluster, changes, from), move |(cluster, mut changes, told)| async move {
        loop {
            changes.borrow_and_update();
            let next = {
                let kept = cluster.kept();
                if kept.cuts != cuts {
                    return None;
                }
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
                gone.or_else(|| event.cloned())
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
