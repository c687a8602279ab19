//! What the server tells of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

/// What etcd keeps: it outlives the server.
#[derive(Clone)]
pub struct Cluster {
    /// The node whose pods may be asked for.
    pub(crate) node: &'static str,
    kept: Arc<Mutex<Kept>>,
    pub(crate) changes: watch::Sender<()>,
}

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) pods: BTreeMap<String, Value>,
    pub(crate) version: u64,
    /// What watchers are told, by the version that it made.
    pub(crate) events: Vec<(u64, String)>,
    /// The version before which all events are forgotten.
    pub(crate) oldest: u64,
    /// How often watches were cut.
    pub(crate) cuts: u64,
    /// How many watches there have been, and how many of them say nothing.
    pub(crate) watches: u64,
    pub(crate) hushed: u64,
    pub(crate) fault: Option<Fault>,
    pub(crate) lists: usize,
}

/// What the server does in place of answering well.
#[derive(Clone, Copy)]
pub enum Fault {
    /// It answers with this status.
    Says(u16),
    /// It lists this much later.
    Slow(Duration),
}

/// The node whose pods are asked for, mostly.
pub const NODE: &str = "worker-1";

/// A pod of this node, or of another.
pub fn pod(name: &str, uid: &str, node: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "labels": {}},
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "nginx:1"}]},
    })
}

impl Cluster {
    /// One without pods, of which those of [`NODE`] are asked for.
    #[allow(clippy::new_without_default)] // Each is another cluster.
    pub fn new() -> Self {
        Self::of(NODE)
    }

    /// One whose pods of this node are asked for.
    pub fn of(node: &'static str) -> Self {
        Self { node, kept: Arc::default(), changes: watch::Sender::new(()) }
    }

    /// A pod is there, or has changed.
    pub fn put(&self, mut pod: Value) {
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
    pub fn remove(&self, name: &str) {
        let mut kept = self.kept();
        kept.version += 1;
        let mut pod = kept.pods.remove(name).unwrap();
        pod["metadata"]["resourceVersion"] = kept.version.to_string().into();
        kept.tell(json!({"type": "DELETED", "object": pod}).to_string());
        drop(kept);
        self.changes.send_replace(());
    }

    /// Watchers are told something that is no event.
    pub fn babble(&self) {
        let mut kept = self.kept();
        kept.version += 1;
        kept.tell("{\"type\": \"ADDED\", \"obj".to_owned());
        drop(kept);
        self.changes.send_replace(());
    }

    /// All watches end, without a word.
    pub fn cut(&self) {
        self.kept().cuts += 1;
        self.changes.send_replace(());
    }

    /// All watches that there are say nothing more, and do not end.
    pub fn hush(&self) {
        let mut kept = self.kept();
        kept.hushed = kept.watches;
    }

    /// What has happened so far is forgotten, as by a compaction: whoever has not been told yet gets 410 Gone.
    pub fn forget(&self) {
        let mut kept = self.kept();
        kept.oldest = kept.version;
    }

    /// The server does this from now on.
    pub fn fail(&self, fault: Option<Fault>) {
        self.kept().fault = fault;
    }

    /// How often pods were listed, or were to be.
    pub fn lists(&self) -> usize {
        self.kept().lists
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

impl Kept {
    fn tell(&mut self, line: String) {
        self.events.push((self.version, line + "\n"));
    }
}
