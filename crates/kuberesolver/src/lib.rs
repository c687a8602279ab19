//! From a container to its Kubernetes pod.
//!
//! Container runtimes say little of the pod that a container belongs to: its name, if they are asked to; never its
//! labels, its service account or what made it. [`Pods`] knows the pods of one node, because it has watched them since
//! before the container was there: [`watch`] follows the API server, through its restarts and ours. So the way from a
//! container to its pod is a look into a table:
//!
//! 1. [`Identity::of`] reads what the runtime's annotations say (containerd, CRI-O, podman);
//! 2. whatever they say of the pod's UID, the path of the container's cgroup knows better ([`pod_uid`]);
//! 3. [`Pods::find`] looks for the pod by its UID, else by its name.
//!
//! No notification ever waits for the API server. A new container does where a policy asks what only the API server
//! knows ([`Pods::wait_for`]): until its pod is known, or until the agent's deadline for resolving passes.
//!
//! ```
//! use seccomp_agent_kuberesolver::{Identity, Pods};
//! use seccomp_agent_registry::Container;
//!
//! let mut container = Container::named("0a1b");
//! container.annotations.insert("io.kubernetes.cri.sandbox-name".into(), "web-0".into());
//! container.annotations.insert("io.kubernetes.cri.sandbox-namespace".into(), "shop".into());
//! let identity = Identity::of(&container);
//! assert_eq!(identity.pod.as_deref(), Some("web-0"));
//! // Nobody has told of any pods yet.
//! assert!(Pods::default().find(&identity).is_none());
//! ```

mod cgroup;
mod identity;
mod manifest;
mod pod;
mod pods;
mod watch;

pub use cgroup::pod_uid;
pub use identity::Identity;
pub use manifest::{FetchError, ManifestError, fetch, parse_manifest};
pub use pods::Pods;
pub use watch::{MAX_SILENCE, client, connect, node_name, tokens, watch};
