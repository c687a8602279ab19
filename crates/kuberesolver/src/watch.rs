//! Following the API server.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::config::Kubeconfig;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, DefaultBackoff, Event, watcher};
use kube::{Api, Client};

use crate::pod::kept;
use crate::pods::Pods;

/// The variable that a `DaemonSet` gives its pods the node's name by.
const NODE_NAME: &str = "NODE_NAME";

/// Where a pod finds who it is.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How long the API server may say nothing, be it asked or watched: then it is taken for away, and asked again over
/// another connection.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);
/// The seconds after which a watch that nothing has happened in is asked for anew: it must be sooner.
const WATCH_SECONDS: u32 = 25;

/// The name of this node in the cluster: `NODE_NAME`, or else what the kubelet calls a node that nobody has given a name,
/// which is the host's name in small letters.
pub fn node_name() -> Option<String> {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var(NODE_NAME).ok().or_else(host)?;
    Some(name.trim().to_lowercase()).filter(|name| !name.is_empty())
}

/// A client with the credentials of the pod that this process runs in, or with those of `KUBECONFIG` or
/// `~/.kube/config`. Nothing is asked of the API server yet.
pub async fn connect() -> Result<Client, kube::Error> {
    client(kube::Config::infer().await.map_err(kube::Error::InferConfig)?)
}

/// A client that waits for no API server for ever. [`watch`] takes one.
pub fn client(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.read_timeout = Some(MAX_SILENCE);
    // From the request on, not from when the connection was used last.
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// The files that a client keeps reading while it lives, for they change: the tokens of the pod that this process runs
/// in, and those that `KUBECONFIG` or `~/.kube/config` names.
pub fn tokens() -> Vec<PathBuf> {
    let named = Kubeconfig::read().map(|config| config.auth_infos).unwrap_or_default();
    let named = named.into_iter().filter_map(|named| named.auth_info?.token_file);
    named.chain([SERVICE_ACCOUNT_TOKEN.to_owned()]).map(PathBuf::from).collect()
}

/// How long it waits at most before it asks an API server again that was away. Were it more, a container that starts when the
/// server is back would have to be given up before its pod is known.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Follows the pods of a node, for ever: where the API server is away or says no, it asks again, at growing intervals
/// of up to five seconds. Pods that are known stay known meanwhile.
pub async fn watch(client: Client, node: &str, pods: Pods) {
    // Those of other nodes would be of no use, and are not for this agent to see; those that have ended make no calls.
    let fields = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let of_this_node = Config::default().fields(&fields).timeout(WATCH_SECONDS);
    let events = watcher(Api::<ApiPod>::all(client), of_this_node).backoff(Waits::default());
    pin_mut!(events);
    let mut is_away = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // That it begins to ask is no answer.
                if is_away && !matches!(event, Event::Init) {
                    tracing::info!(node, "the API server is back");
                    is_away = false;
                }
                take(event, node, &pods);
            }
            Err(error) if is_away => tracing::debug!(%error, "the API server is still away"),
            Err(error) => {
                tracing::warn!(%error, node, "the API server cannot be asked for pods; trying on");
                is_away = true;
            }
        }
    }
}

fn take(event: Event<ApiPod>, node: &str, pods: &Pods) {
    match event {
        Event::Apply(pod) => kept(pod).into_iter().for_each(|pod| pods.put(pod)),
        Event::Delete(pod) => kept(pod).into_iter().for_each(|pod| pods.remove(&pod)),
        Event::Init => pods.begin_list(),
        Event::InitApply(pod) => kept(pod).into_iter().for_each(|pod| pods.list(pod)),
        Event::InitDone => {
            pods.end_list();
            tracing::info!(node, pods = pods.len(), "the pods of this node are known");
        }
    }
}

/// Those that everybody who watches an API server keeps to, but for the long ones.
#[derive(Default)]
struct Waits(DefaultBackoff);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next()?.min(LONGEST_WAIT))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_below_what_a_container_waits_for_its_pod() {
        let mut waits = Waits::default();
        let first = waits.next().unwrap();
        assert!(first < LONGEST_WAIT, "{first:?}");
        assert!(waits.take(20).all(|wait| wait <= LONGEST_WAIT));
    }
}
