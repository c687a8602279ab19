//! What a container's recording is called when nobody has given it a name.

use seccomp_agent_recorder::{Name, Subject};
use seccomp_agent_registry::Container;

use crate::identity::images;

/// What Kubernetes makes the ends of names of: no vowels, and no digits that look like some.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whose container it is, under this name or else that of its pod's owner, of its image's digest, or its own id; in this
/// order. `None` if not even that is a name.
pub(crate) fn subject(container: &Container, name: Option<Name>) -> Option<Subject> {
    let image = images(container).first().map(|image| (*image).to_owned());
    let (namespace, pod) = container.pod_names();
    let workload = match (namespace, pod, container.name()) {
        (Some(namespace), Some(pod), Some(name)) => {
            // A static pod is its node's, which says nothing of what runs there.
            let made_by = container.pod().and_then(|pod| pod.owner.as_ref());
            let made_by = made_by.filter(|owner| owner.kind != "Node");
            Some([namespace, made_by.map_or_else(|| owner(pod), |owner| &owner.name), name])
        }
        _ => None,
    };
    let parsed = |text: String| text.parse::<Name>().ok();
    let by_digest = || {
        let (_, digest) = image.as_deref()?.split_once("@sha256:")?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| parsed(format!("sha256-{digest}")))?
    };
    // The names of Kubernetes have no underscore.
    let by_owner = || parsed(workload?.join("_"));
    let name = name.or_else(by_owner).or_else(by_digest).or_else(|| parsed(container.id.clone()))?;
    let mut subject = Subject::new(name);
    subject.image.clone_from(&image);
    subject.workload = workload.map(|parts| parts.join("/"));
    Some(subject)
}

/// The name of what made the pod, as far as the pod's name tells: that of a Deployment, a `DaemonSet`, a `StatefulSet`, a
/// Job or a `CronJob` without what was added to it. No annotation says it. Where the cluster does, that is asked, and agrees:
/// a recording is to have one name, whether or not its container had to wait for its pod.
fn owner(pod: &str) -> &str {
    let is_generated = |end: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&end.len()) && end.bytes().all(|byte| GENERATED.contains(&byte))
    };
    let is_number = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    match pod.rsplit_once('-') {
        Some((name, ordinal)) if is_number(ordinal) && ordinal.len() < 5 => name,
        Some((set, end)) if is_generated(end, 5..=5) => match set.rsplit_once('-') {
            Some((name, hash)) if is_generated(hash, 8..=10) || (is_number(hash) && hash.len() >= 8) => name,
            _ => set,
        },
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Owner, Pod};

    #[test]
    fn a_pods_owner_is_told_by_its_name() {
        for (pod, expected) in [
            ("web-6d4b75cb6d-h2xkq", "web"),
            ("shop-frontend-7c9d8f6b5-zzxvt", "shop-frontend"),
            ("node-agent-x7k2p", "node-agent"),
            ("redis-0", "redis"),
            ("backup-28391040-8wqzt", "backup"),
            ("web", "web"),
            ("web-proxy", "web-proxy"),
            ("my-nginx-front", "my-nginx-front"),
        ] {
            assert_eq!(owner(pod), expected);
        }
    }

    #[test]
    fn a_recording_is_called_as_is_asked_or_by_owner_digest_or_id() {
        let mut container = Container::named("0a1b");
        let name = |container: &Container, given: Option<&str>| {
            subject(container, given.map(|text| text.parse().unwrap()))
                .map(|subject| subject.name.to_string())
        };
        assert_eq!(name(&container, None).as_deref(), Some("0a1b"));
        assert_eq!(name(&Container::named("a/b"), None), None);
        for (key, value) in [
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.sandbox-name", "web-6d4b75cb6d-h2xkq"),
            ("io.kubernetes.cri.container-name", "nginx"),
        ] {
            container.annotations.insert(key.into(), value.into());
        }
        assert_eq!(name(&container, None).as_deref(), Some("shop_web_nginx"));
        container
            .annotations
            .insert("io.kubernetes.cri.image-name".into(), "docker.io/library/nginx:1.27".into());
        assert_eq!(name(&container, None).as_deref(), Some("shop_web_nginx"));
        let digest = "0a".repeat(32);
        container.annotations.insert("io.kubernetes.cri.image-name".into(), format!("nginx@sha256:{digest}"));
        assert_eq!(name(&container, None).as_deref(), Some("shop_web_nginx"));
        container.annotations.remove("io.kubernetes.cri.sandbox-namespace");
        assert_eq!(name(&container, None), Some(format!("sha256-{digest}")));
        container.annotations.insert("io.kubernetes.cri.sandbox-namespace".into(), "shop".into());
        assert_eq!(name(&container, Some("web")).as_deref(), Some("web"));
        for (kind, made_by, expected) in
            [("Deployment", "shop-web", "shop_shop-web_nginx"), ("Node", "node1", "shop_web_nginx")]
        {
            let mut told = Container::named("0a1b");
            told.annotations.clone_from(&container.annotations);
            let mut pod = Pod::default();
            (pod.namespace, pod.name) = ("shop".into(), "web-6d4b75cb6d-h2xkq".into());
            pod.owner = Some(Owner::new(kind, made_by));
            told.tell_pod(pod);
            assert_eq!(name(&told, None).as_deref(), Some(expected));
        }
        let subject = subject(&container, None).unwrap();
        assert_eq!(subject.workload.as_deref(), Some("shop/web/nginx"));
        assert!(subject.image.is_some_and(|image| image.starts_with("nginx@")));
    }
}
