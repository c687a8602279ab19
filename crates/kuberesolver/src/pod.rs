//! What is kept of a pod of the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod as ApiPod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use seccomp_agent_registry::{Owner, Pod, PodContainer, Role};

/// What annotations that ask something of an agent begin with.
const REQUESTS: &str = "seccomp-agent/";
/// Where the kubelet writes the UID of a static pod into its mirror.
const STATIC_UID: &str = "kubernetes.io/config.hash";
/// Where it writes it again, by which a mirror is known.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How many characters a request may have. What makes sense has less.
const MAX_REQUEST: usize = 4096;
/// The label by which a `ReplicaSet` of a Deployment is told from those of its other versions.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What is kept of a pod; `None` if it has no name.
pub(crate) fn kept(pod: ApiPod) -> Option<Pod> {
    let ObjectMeta { name, namespace, uid, labels, annotations, owner_references, .. } = pod.metadata;
    let (labels, annotations) = (labels.unwrap_or_default(), annotations.unwrap_or_default());
    let spec = pod.spec.unwrap_or_default();
    let owner = owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
    let mut kept = Pod::default();
    kept.name = name?;
    kept.namespace = namespace?;
    kept.uid = static_uid(&annotations, owner.as_ref()).or(uid)?;
    kept.owner = owner.map(|owner| lasting(owner, &labels));
    kept.service_account.clone_from(&spec.service_account_name);
    kept.containers = containers(spec, pod.status.unwrap_or_default());
    let asks = |key: &str, value: &str| key.starts_with(REQUESTS) && value.len() <= MAX_REQUEST;
    kept.annotations = annotations.into_iter().filter(|(key, value)| asks(key, value)).collect();
    kept.labels = labels;
    Some(kept)
}

/// The UID that the kubelet has given a static pod: a hash, which no UID of the API server looks like, so that whoever
/// writes such annotations takes the place of nobody else's pod.
fn static_uid(annotations: &BTreeMap<String, String>, owner: Option<&OwnerReference>) -> Option<String> {
    let hash = annotations.get(STATIC_UID)?;
    let is_hash = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_mirror = annotations.get(MIRROR) == Some(hash) && owner.is_some_and(|owner| owner.kind == "Node");
    (is_hash && is_mirror).then(|| hash.clone())
}

/// Who stays when versions and times change.
fn lasting(owner: OwnerReference, labels: &BTreeMap<String, String>) -> Owner {
    let OwnerReference { kind, name, .. } = owner;
    let before = |end: &str| name.strip_suffix(end)?.strip_suffix('-').map(str::to_owned);
    let deployment = || labels.get(TEMPLATE_HASH).and_then(|hash| before(hash));
    // A Job of a CronJob has the minute that it was due in its name.
    let cron_job =
        || name.rsplit_once('-').filter(|(_, time)| is_minute(time)).map(|(name, _)| name.to_owned());
    match kind.as_str() {
        "ReplicaSet" => deployment().map(|name| Owner::new("Deployment", name)),
        "Job" => cron_job().map(|name| Owner::new("CronJob", name)),
        _ => None,
    }
    .unwrap_or_else(|| Owner::new(kind, name))
}

/// Minutes since 1970, as they are written from 1989 to 2160.
fn is_minute(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn containers(spec: PodSpec, status: PodStatus) -> BTreeMap<String, PodContainer> {
    let regular =
        spec.containers.into_iter().map(|container| (container.name, Role::Regular, container.image));
    let init = spec.init_containers.unwrap_or_default().into_iter();
    let init = init.map(|container| (container.name, Role::Init, container.image));
    let ephemeral = spec.ephemeral_containers.unwrap_or_default().into_iter();
    let ephemeral = ephemeral.map(|container| (container.name, Role::Ephemeral, container.image));
    let all = regular.chain(init).chain(ephemeral);
    let mut containers: BTreeMap<_, _> =
        all.map(|(name, role, image)| (name, PodContainer::new(role, image.unwrap_or_default()))).collect();
    let said =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    for ContainerStatus { name, image_id, .. } in said.into_iter().flatten().flatten() {
        if let Some(container) = containers.get_mut(&name) {
            container.image_id = (!image_id.is_empty()).then_some(image_id);
        }
    }
    containers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(kind: &str, name: &str, labels: &[(&str, &str)]) -> String {
        let owner = OwnerReference { kind: kind.into(), name: name.into(), ..OwnerReference::default() };
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        lasting(owner, &labels).to_string()
    }

    #[test]
    fn the_owner_is_the_one_that_outlives_versions() {
        let hash = [(TEMPLATE_HASH, "6d4b75cb6d")];
        assert_eq!(owned("ReplicaSet", "web-6d4b75cb6d", &hash), "Deployment/web");
        assert_eq!(owned("ReplicaSet", "web-6d4b75cb6d", &[]), "ReplicaSet/web-6d4b75cb6d");
        assert_eq!(owned("Job", "backup-28391040", &[]), "CronJob/backup");
        assert_eq!(owned("Job", "import-7", &[]), "Job/import-7");
        assert_eq!(owned("StatefulSet", "redis", &[]), "StatefulSet/redis");
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let pod: ApiPod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "web-6d4b75cb6d-h2xkq", "namespace": "shop", "uid": "u-1",
                "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
                "annotations": {"seccomp-agent/RECORD": "web", "other/x": "y"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "1"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4b75cb6d", "uid": "2", "controller": true},
                ],
            },
            "spec": {
                "serviceAccountName": "web",
                "containers": [{"name": "nginx", "image": "nginx:1.27"}],
                "initContainers": [{"name": "setup", "image": "busybox"}],
                "ephemeralContainers": [{"name": "debugger", "image": "alpine"}],
            },
            "status": {
                "containerStatuses": [{
                    "name": "nginx", "image": "nginx:1.27", "imageID": "nginx@sha256:00", "ready": true, "restartCount": 0,
                }],
            },
        }))
        .unwrap();
        let kept = kept(pod.clone()).unwrap();
        assert_eq!(kept.owner, Some(Owner::new("Deployment", "web")));
        assert_eq!(kept.annotations.keys().collect::<Vec<_>>(), ["seccomp-agent/RECORD"]);
        assert_eq!(kept.service_account.as_deref(), Some("web"));
        let roles: Vec<_> =
            kept.containers.iter().map(|(name, container)| (name.as_str(), container.role)).collect();
        assert_eq!(roles, [("debugger", Role::Ephemeral), ("nginx", Role::Regular), ("setup", Role::Init)]);
        assert_eq!(kept.containers["nginx"].image_id.as_deref(), Some("nginx@sha256:00"));
        assert_eq!(kept.containers["setup"].image_id, None);

        let hash = "0123456789abcdef0123456789abcdef";
        let mut mirror = pod;
        let annotations = |value: &str| [STATIC_UID, MIRROR].map(|key| (key.to_owned(), value.to_owned()));
        mirror.metadata.annotations = Some(annotations(hash).into());
        assert_eq!(super::kept(mirror.clone()).unwrap().uid, "u-1", "made by no node");
        let node =
            OwnerReference { kind: "Node".into(), controller: Some(true), ..OwnerReference::default() };
        mirror.metadata.owner_references = Some(vec![node]);
        assert_eq!(super::kept(mirror.clone()).unwrap().uid, hash);
        mirror.metadata.annotations = Some(annotations("4b5c1d2e-1111-4222-8333-44445555666a").into());
        assert_eq!(super::kept(mirror).unwrap().uid, "u-1", "the UID of another pod");
        assert_eq!(super::kept(ApiPod::default()), None);
    }
}
