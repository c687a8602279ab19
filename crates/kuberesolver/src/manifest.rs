//! A pod that no container of which is there yet: as its manifest says, or as the API server has it.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::Api;
use seccomp_agent_registry::Pod;
use serde::Deserialize;

use crate::pod::kept;
use crate::watch::connect;

/// Why a text is no pod's manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It cannot be parsed.
    #[error("it is no manifest: {0}")]
    Parse(#[from] serde_saphyr::Error),
    /// It is something else.
    #[error("it is a {0:?}, and only a Pod will do; of a Deployment and its like, take one of its pods")]
    Kind(String),
    /// A pod has a name.
    #[error("metadata.name is missing")]
    Unnamed,
}

/// Why a pod could not be had from the API server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The API server is not known, does not answer, or refuses.
    #[error("the API server cannot be asked")]
    Api(#[from] kube::Error),
    /// There is no such pod.
    #[error("there is no pod {name:?} in the namespace {namespace:?}")]
    Missing {
        /// Where it was looked for.
        namespace: String,
        /// What was looked for.
        name: String,
    },
}

/// What a text in YAML or JSON is about.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

/// Reads a pod's manifest, in YAML or JSON. Without a namespace it is in `default`.
pub fn parse_manifest(text: &str) -> Result<Pod, ManifestError> {
    let Kind { kind } = serde_saphyr::from_str(text)?;
    if kind != "Pod" {
        return Err(ManifestError::Kind(kind));
    }
    let mut pod: ApiPod = serde_saphyr::from_str(text)?;
    // Both are given by the API server.
    pod.metadata.uid.get_or_insert_default();
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let account = pod.spec.get_or_insert_default().service_account_name.get_or_insert_default();
    if account.is_empty() {
        "default".clone_into(account);
    }
    kept(pod).ok_or(ManifestError::Unnamed)
}

/// Asks the API server for one pod, with the credentials of [`connect`].
pub async fn fetch(namespace: &str, name: &str) -> Result<Pod, FetchError> {
    let missing = || FetchError::Missing { namespace: namespace.to_owned(), name: name.to_owned() };
    let pods = Api::<ApiPod>::namespaced(connect().await?, namespace);
    pods.get_opt(name).await?.and_then(kept).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_a_pod_to_be() {
        let pod = parse_manifest(
            "kind: Pod\napiVersion: v1\nmetadata: {name: web, labels: {app: web}}\nspec:\n  containers: [{name: nginx, image: nginx}]\n",
        )
        .unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("default", "web"));
        assert_eq!(pod.service_account.as_deref(), Some("default"));
        assert_eq!(pod.containers["nginx"].image, "nginx");
    }

    #[test]
    fn what_is_no_pod_is_said_to_be_none() {
        for (text, expected) in [
            ("kind: Deployment\nmetadata: {name: web}", "a \"Deployment\""),
            ("kind: Pod\nmetadata: {}", "metadata.name"),
            ("kind: Pod\nspec: {containers: 7}", "no manifest"),
            ("[", "no manifest"),
        ] {
            let said = parse_manifest(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
