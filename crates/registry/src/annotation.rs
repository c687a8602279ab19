//! The annotations by which runtimes say where a container belongs in a cluster: containerd first, then CRI-O. To be
//! read by [`Container::annotation`](crate::Container::annotation).

/// The namespace of the container's pod.
pub const NAMESPACE: [&str; 2] = ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];
/// The name of its pod.
pub const POD: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
/// Its name in the pod.
pub const CONTAINER: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"];
/// The image that it is of.
pub const IMAGE: [&str; 2] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"];
