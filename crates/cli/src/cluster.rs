//! What the cluster knows of containers, for the resolver `kubernetes`.

use std::sync::Arc;

use anyhow::Context;
use seccomp_agent_agent::ResolveError;
use seccomp_agent_kuberesolver::{Identity, Pods, connect, node_name, watch};
use seccomp_agent_registry::{Container, Pod};
use tokio::task::JoinSet;

/// The pods of this node.
pub(crate) struct Cluster {
    pods: Pods,
    /// Whether there is an API server to learn of pods from.
    is_followed: bool,
}

impl Cluster {
    /// Follows the pods of the node of this name, or of the node that this seems to be. Without credentials for an API
    /// server, what annotations say has to be enough: where it is not, containers cannot be resolved. Takes a tokio runtime.
    pub(crate) async fn follow(node: Option<&str>) -> anyhow::Result<Self> {
        let node = node.map(str::to_owned).or_else(node_name);
        let node = node.context("what is this node called? --node-name or NODE_NAME has to say")?;
        let pods = Pods::default();
        let client = connect().await;
        let is_followed = client.is_ok();
        match client {
            Ok(client) => {
                let pods = pods.clone();
                tokio::spawn(async move { watch(client, &node, pods).await });
            }
            Err(error) => tracing::warn!(
                %error,
                "no API server is known; of pods, what runtimes write into annotations is all there is"
            ),
        }
        Ok(Self { pods, is_followed })
    }

    /// Tells the container of its pod: at once if it is known, else as soon as it is. Where it `must` be known and there
    /// is one, waits until then; fails where nobody is there to tell of it.
    pub(crate) async fn tell_pod(&self, container: &Container, must: bool) -> Result<(), ResolveError> {
        let said = Identity::of(container);
        let pid = if container.pid == 0 { container.init_pid } else { container.pid };
        // The kernel may have it wait for a lock that containers contend for.
        let identity = tokio::task::spawn_blocking(move || said.by_cgroup(pid)).await?;
        match self.pods.find(&identity) {
            Some(pod) => tell(container, &identity, pod),
            None if !identity.is_of_a_pod() => {}
            None if self.is_followed => {
                self.tell_later(container, identity.clone());
                if must {
                    tell(container, &identity, self.pods.wait_for(&identity).await);
                }
            }
            None if must => {
                return Err(
                    "the policy asks what only the API server knows of a pod, and none is known".into()
                );
            }
            None => {}
        }
        Ok(())
    }

    /// Tells it when its pod is known, unless its listener has ended by then. It may have been served long before, by
    /// what annotations said or because a deadline was over.
    fn tell_later(&self, container: &Container, identity: Identity) {
        let (pods, told) = (self.pods.clone(), container.clone());
        let mut telling = JoinSet::new();
        telling.spawn(async move { tell(&told, &identity, pods.wait_for(&identity).await) });
        container.keep(|| Telling { _task: telling });
    }
}

/// Ends with the container that it is kept for.
struct Telling {
    _task: JoinSet<()>,
}

fn tell(container: &Container, identity: &Identity, pod: Arc<Pod>) {
    if container.pod().is_some() {
        return;
    }
    let role = identity.container.as_ref().and_then(|name| pod.containers.get(name));
    tracing::info!(
        container = container.id,
        namespace = pod.namespace,
        pod = pod.name,
        name = identity.container,
        role = ?role.map(|known| known.role).or(identity.role),
        owner = pod.owner.as_ref().map(ToString::to_string),
        exec = container.is_exec(),
        "pod found"
    );
    container.tell_pod(pod);
}
