//! What a runtime says of a container's pod, by the annotations of its state.

use seccomp_agent_registry::{Container, Role, annotation};

use crate::cgroup::pod_uid;

/// What is known of a container's place in its pod without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The pod's UID.
    pub pod_uid: Option<String>,
    /// The container's name in the pod.
    pub container: Option<String>,
    /// That it is the pod's sandbox, where the runtime says so.
    pub role: Option<Role>,
}

/// Where runtimes write it besides: CRI-O into annotations of its own (`io.kubernetes.cri-o`).
const NAMESPACE: &[&str] =
    &[annotation::NAMESPACE[0], annotation::NAMESPACE[1], "io.kubernetes.cri-o.Namespace"];
const POD: &[&str] = &[annotation::POD[0], annotation::POD[1], "io.kubernetes.cri-o.KubeName"];
const UID: &[&str] = &["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];
const KIND: &[&str] = &["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

impl Identity {
    /// What the runtime's annotations say.
    pub fn of(container: &Container) -> Self {
        let said =
            |keys: &[&str]| container.annotation(keys).filter(|value| !value.is_empty()).map(str::to_owned);
        let role = said(KIND).filter(|kind| kind == "sandbox").map(|_| Role::Sandbox);
        // The kubelet labels the sandbox of dockershim and CRI-O so.
        let name = said(&annotation::CONTAINER).filter(|name| name != "POD");
        Self { namespace: said(NAMESPACE), pod: said(POD), pod_uid: said(UID), container: name, role }
    }

    /// The same, with what the cgroups of one of its processes say, if they say anything: an author of a pod may write
    /// annotations, but no container leaves the cgroup of its pod. Reads files; blocks for as long as that takes.
    ///
    /// The process is that of this number in the agent's own pid namespace.
    #[must_use]
    pub fn by_cgroup(mut self, pid: u32) -> Self {
        if pid == 0 {
            return self;
        }
        // A process that is gone, or not to be seen from here, tells nothing.
        let paths =
            |process: &str| std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        if let Some(uid) = pod_uid(&paths(&pid.to_string()), &paths("self")) {
            self.pod_uid = Some(uid);
        }
        self
    }

    /// Whether there is a pod that it belongs to, known or not.
    pub const fn is_of_a_pod(&self) -> bool {
        self.pod_uid.is_some() || (self.namespace.is_some() && self.pod.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Identity {
        let mut container = Container::named("c");
        container.annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Identity::of(&container)
    }

    #[test]
    fn each_runtimes_annotations_are_read() {
        let expected = Identity {
            namespace: Some("shop".into()),
            pod: Some("web-0".into()),
            pod_uid: Some("u-1".into()),
            container: Some("nginx".into()),
            role: None,
        };
        for annotations in [
            [
                ("io.kubernetes.cri.sandbox-namespace", "shop"),
                ("io.kubernetes.cri.sandbox-name", "web-0"),
                ("io.kubernetes.cri.sandbox-uid", "u-1"),
                ("io.kubernetes.cri.container-name", "nginx"),
                ("io.kubernetes.cri.container-type", "container"),
            ],
            [
                ("io.kubernetes.pod.namespace", "shop"),
                ("io.kubernetes.pod.name", "web-0"),
                ("io.kubernetes.pod.uid", "u-1"),
                ("io.kubernetes.container.name", "nginx"),
                ("io.kubernetes.cri-o.ContainerType", "container"),
            ],
        ] {
            assert_eq!(of(&annotations), expected);
        }
    }

    #[test]
    fn a_sandbox_is_told_from_what_runs_in_it() {
        let of_containerd = of(&[
            ("io.kubernetes.cri.sandbox-name", "web-0"),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.container-type", "sandbox"),
        ]);
        assert_eq!((of_containerd.role, of_containerd.container), (Some(Role::Sandbox), None));
        let of_crio =
            of(&[("io.kubernetes.container.name", "POD"), ("io.kubernetes.cri-o.ContainerType", "sandbox")]);
        assert_eq!((of_crio.role, of_crio.container), (Some(Role::Sandbox), None));
    }

    #[test]
    fn what_no_runtime_has_said_is_asked_of_the_cgroup() {
        assert!(!of(&[("io.container.manager", "libpod")]).is_of_a_pod());
        assert!(!of(&[]).by_cgroup(0).is_of_a_pod());
        // Our own process is in no pod, or in that of the build, which does not count.
        let said = of(&[("io.kubernetes.pod.uid", "u-1")]).by_cgroup(std::process::id());
        assert_eq!(said.pod_uid.as_deref(), Some("u-1"));
    }

    #[test]
    fn runtimes_that_contradict_each_other_say_nothing() {
        let forged = of(&[("io.kubernetes.cri.sandbox-uid", "victim"), ("io.kubernetes.pod.uid", "u-1")]);
        assert_eq!(forged.pod_uid, None);
    }
}
