//! Falco, told of the calls of those containers that the policy says it of.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use seccomp_agent_falco::{DEFAULT_SOCKET, Falco, Workload};
use seccomp_agent_handlers::AnyCall;
use seccomp_agent_kuberesolver::Identity;
use seccomp_agent_registry::{Container, Registry};

/// The longest name of a pod (RFC 1123).
const MAX_NAME: usize = 253;

/// The connection to Falco's plugin: there from the first container on whose calls it is told of.
pub(crate) struct Plugin {
    socket: PathBuf,
    connection: Mutex<Option<Falco>>,
}

impl Plugin {
    /// The plugin that listens here.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), connection: Mutex::default() }
    }

    /// Tells it of every notified call of `container`, those included that nobody answers.
    pub(crate) fn attach(&self, container: &Container, registry: &mut Registry) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // One that could not be had is asked for again by the next container.
        let Some(falco) = connection.take().or_else(|| start(&self.socket)) else { return };
        if !registry.has_otherwise() {
            registry.otherwise(AnyCall::Continue);
        }
        registry.layer(&falco.layer(workload(container)));
        *connection = Some(falco);
    }
}

impl Default for Plugin {
    fn default() -> Self {
        Self::at(Path::new(DEFAULT_SOCKET))
    }
}

fn start(socket: &Path) -> Option<Falco> {
    match Falco::start(socket) {
        Ok(falco) => Some(falco),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "Falco is not told of any calls");
            None
        }
    }
}

/// Where a container belongs, as far as the cluster or the runtime says.
fn workload(container: &Container) -> Workload {
    let said = Identity::of(container);
    let (namespace, pod) = container.pod_names();
    // The kubelet's names have no more; annotations can.
    let cut = |name: Option<&str>| name.unwrap_or_default().chars().take(MAX_NAME).collect();
    Workload { namespace: cut(namespace), pod: cut(pod), container: cut(said.container.as_deref()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::Pod;

    #[test]
    fn falco_is_told_what_the_cluster_says_else_what_the_runtime_does() {
        let mut container = Container::named("c");
        assert_eq!(workload(&container), Workload::default());
        for (key, value) in
            [("sandbox-namespace", "shop"), ("sandbox-name", "said"), ("container-name", "web")]
        {
            container.annotations.insert(format!("io.kubernetes.cri.{key}"), value.into());
        }
        let expected =
            |pod: &str| Workload { namespace: "shop".into(), pod: pod.into(), container: "web".into() };
        assert_eq!(workload(&container), expected("said"));
        let mut pod = Pod::default();
        (pod.namespace, pod.name) = ("shop".into(), "web-0".into());
        container.tell_pod(pod);
        assert_eq!(workload(&container), expected("web-0"));
    }

    #[test]
    fn falco_is_told_of_calls_that_have_no_handler_too() {
        let (mut registry, container) = (Registry::new(), Container::named("c"));
        Plugin::at(Path::new("/run/nobody.sock")).attach(&container, &mut registry);
        assert!(registry.has_otherwise());
    }
}
