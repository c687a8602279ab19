use std::collections::BTreeMap;

use seccomp_agent_registry::Container;

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

/// Where runtimes write what a pod and its containers are called: containerd, then CRI-O.
const ANNOTATIONS: [(Field, [&str; 2]); 3] = [
    (Field::Namespace, ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
    (Field::Pod, ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
    (Field::Container, ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]),
];

impl Field {
    pub(crate) const ALL: [Self; 4] = [Self::Namespace, Self::Pod, Self::Container, Self::Pid];

    /// Where it is to be found in the first place, if runtimes write it into an annotation.
    pub(crate) fn annotation(self) -> Option<&'static str> {
        ANNOTATIONS.iter().find(|(field, _)| *field == self).map(|(_, keys)| keys[0])
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

/// What the runtime says of a container, as far as it does.
pub(crate) fn identity(container: &Container) -> BTreeMap<Field, String> {
    let annotation = |keys: &[&str]| keys.iter().find_map(|key| container.annotations.get(*key)).cloned();
    let named = ANNOTATIONS.iter().filter_map(|(field, keys)| Some((*field, annotation(keys)?)));
    let pid = (container.init_pid != 0).then(|| (Field::Pid, container.init_pid.to_string()));
    named.chain(pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
