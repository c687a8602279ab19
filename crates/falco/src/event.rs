//! What is said to Falco: `seccomp-agent.proto` of `kinvolk/seccompagent`, package `seccompagentfalco`.

use seccomp_agent_registry::Call;

/// The method that takes an event.
pub(crate) const METHOD: &str = "/seccompagentfalco.SeccompAgentFalco/PublishEvent";

/// One notified call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PublishEventRequest {
    /// The notification's id: unique for its listener.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// The calling thread, in the agent's pid namespace.
    #[prost(uint64, tag = "2")]
    pub(crate) pid: u64,
    #[prost(string, tag = "3")]
    pub(crate) syscall: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) k8s: Option<KubernetesWorkload>,
}

/// Who made it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct KubernetesWorkload {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) pod: String,
    #[prost(string, tag = "3")]
    pub(crate) container: String,
    /// The container's init.
    #[prost(uint64, tag = "4")]
    pub(crate) pid: u64,
    /// The process whose filter it is: the init, or what `exec` has started.
    #[prost(uint64, tag = "5")]
    pub(crate) pid_filter: u64,
}

/// The answer, which says nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct PublishEventResponse {}

/// Where a container belongs in a cluster, as far as it is known; empty where it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name in the pod.
    pub container: String,
}

impl PublishEventRequest {
    pub(crate) fn of(call: &Call<'_>, workload: &Workload) -> Self {
        let Workload { namespace, pod, container } = workload.clone();
        let of_container = call.container();
        let k8s = KubernetesWorkload {
            namespace,
            pod,
            container,
            pid: of_container.init_pid.into(),
            pid_filter: of_container.pid.into(),
        };
        Self {
            id: call.notification().id.as_raw(),
            pid: call.tid().into(),
            syscall: call.syscall().to_string(),
            k8s: Some(k8s),
        }
    }
}
