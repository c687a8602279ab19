use std::collections::BTreeMap;
use std::fmt;

/// A Kubernetes pod: what the API server says of it, as far as policies and records need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID. That of a static pod is the kubelet's, which cgroups and runtimes know, not that of its mirror.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that ask something of an agent.
    pub annotations: BTreeMap<String, String>,
    /// The service account that it runs as.
    pub service_account: Option<String>,
    /// What made it.
    pub owner: Option<Owner>,
    /// Its containers, by name.
    pub containers: BTreeMap<String, PodContainer>,
}

/// What made a pod, and its like: the Deployment rather than the `ReplicaSet` of one of its versions, the `CronJob`
/// rather than the Job of one time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodContainer {
    /// What it is to the pod.
    pub role: Role,
    /// The image, as the pod names it.
    pub image: String,
    /// The image that it was resolved to, with its digest, once the kubelet has said so.
    pub image_id: Option<String>,
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// One of the containers that the pod is there for.
    Regular,
    /// It runs before those, or beside them if it restarts always.
    Init,
    /// Somebody has added it to the running pod, to look into it.
    Ephemeral,
    /// It holds the pod's namespaces: no container of the pod's author.
    Sandbox,
}

impl Owner {
    /// An owner of this kind and name.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl PodContainer {
    /// A container of which the kubelet has said nothing yet.
    pub fn new(role: Role, image: impl Into<String>) -> Self {
        Self { role, image: image.into(), image_id: None }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
