use std::collections::BTreeMap;

use seccomp_agent_registry::{Container, PodContainer, annotation};

/// Something that is known of a container, by the name that templates have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The namespace of its pod.
    Namespace,
    /// The name of its pod.
    Pod,
    /// Its name in the pod.
    Container,
    /// Its init, in the runtime's pid namespace.
    Pid,
}

impl Field {
    pub(crate) const ALL: [Self; 4] = [Self::Namespace, Self::Pod, Self::Container, Self::Pid];

    /// Where it is to be found in the first place, if runtimes write it into an annotation.
    pub(crate) const fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Namespace => Some(annotation::NAMESPACE[0]),
            Self::Pod => Some(annotation::POD[0]),
            Self::Container => Some(annotation::CONTAINER[0]),
            Self::Pid => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Container => "Container",
            Self::Pid => "Pid",
        }
    }
}

/// What is known of a container: by its pod, where the cluster has told of that, else as far as the runtime says.
pub(crate) fn identity(container: &Container) -> BTreeMap<Field, String> {
    let (namespace, pod) = container.pod_names();
    let names = [(Field::Namespace, namespace), (Field::Pod, pod), (Field::Container, container.name())];
    let names = names.into_iter().filter_map(|(field, name)| Some((field, name?.to_owned())));
    let pid = (container.init_pid != 0).then(|| (Field::Pid, container.init_pid.to_string()));
    names.chain(pid).collect()
}

/// What is known of a container in its pod.
pub(crate) fn in_pod(container: &Container) -> Option<&PodContainer> {
    container.pod()?.containers.get(container.name()?)
}

/// The names that a container's image is known by, the most exact first.
pub(crate) fn images(container: &Container) -> Vec<&str> {
    let in_pod = in_pod(container).into_iter();
    let in_pod = in_pod.flat_map(|known| known.image_id.iter().chain([&known.image]));
    in_pod.map(String::as_str).chain(container.annotation(&annotation::IMAGE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Pod, Role};

    #[test]
    fn a_pod_is_known_by_its_runtimes_annotations() {
        let mut container = Container::named("c");
        assert!(identity(&container).is_empty());
        container.init_pid = 7;
        container.annotations.insert("io.kubernetes.cri.sandbox-name".into(), "nginx".into());
        container.annotations.insert("io.kubernetes.container.name".into(), "web".into());
        let expected = [(Field::Pod, "nginx"), (Field::Container, "web"), (Field::Pid, "7")];
        assert_eq!(identity(&container), expected.map(|(field, value)| (field, value.to_owned())).into());
    }

    #[test]
    fn nobody_takes_another_name_by_the_annotations_of_another_runtime() {
        let mut container = Container::named("c");
        for (key, value) in [
            // As CRI-O writes them.
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.container.name", "web"),
            ("io.kubernetes.cri-o.ImageName", "nginx:1"),
            // As the pod's author does, for the agent to find.
            ("io.kubernetes.cri.sandbox-name", "payments-0"),
            ("io.kubernetes.cri.container-name", "payments"),
            ("io.kubernetes.cri.image-name", "payments:1"),
        ] {
            container.annotations.insert(key.into(), value.into());
        }
        assert_eq!(identity(&container), BTreeMap::new());
        assert!(images(&container).is_empty());
    }

    #[test]
    fn what_the_cluster_says_comes_before_what_the_runtime_says() {
        let mut container = Container::named("c");
        container.annotations.insert("io.kubernetes.cri.sandbox-name".into(), "said".into());
        container.annotations.insert("io.kubernetes.cri.container-name".into(), "nginx".into());
        container.annotations.insert("io.kubernetes.cri.image-name".into(), "nginx:1".into());
        assert_eq!(images(&container), ["nginx:1"]);
        let mut pod = Pod::default();
        (pod.name, pod.namespace) = ("web-0".into(), "shop".into());
        let mut known = PodContainer::new(Role::Regular, "nginx");
        known.image_id = Some("nginx@sha256:00".into());
        pod.containers.insert("nginx".into(), known);
        container.tell_pod(pod);
        assert_eq!(identity(&container)[&Field::Pod], "web-0");
        assert_eq!(identity(&container)[&Field::Namespace], "shop");
        assert_eq!(images(&container), ["nginx@sha256:00", "nginx", "nginx:1"]);
    }
}
