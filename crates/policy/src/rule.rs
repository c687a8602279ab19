//! A rule: which containers it is for, what it honours, what it grants.

use std::collections::BTreeMap;

use seccomp_agent_registry::Container;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::grant::{Glob, Grants};
use crate::identity::{Field, images};
use crate::request::{AnnotationKey, Key, MetadataKey, PREFIX, Source, metadata};
use crate::watch::{ComplainRule, RecordRule};

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// What the rule is called in logs and explanations. Unique.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) name: Spanned<RuleName>,
    /// Which containers it is for: all that is said has to match. `{}` is every container.
    pub(crate) r#match: Match,
    /// What such a container may ask for.
    #[serde(default)]
    pub(crate) honour: Honour,
    /// What such a container gets unasked.
    #[serde(default)]
    pub(crate) grant: Grants,
    /// That they are recorded.
    pub(crate) record: Option<RecordRule>,
    /// That what no handler answers is a violation of their profile.
    pub(crate) complain: Option<ComplainRule>,
}

/// Up to 63 characters, of which none is a control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RuleName(pub(crate) String);

/// Which containers a rule is for. Values are patterns: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Match {
    /// The program that handed the container over, without its directory: `runc`, `crun`.
    runtime: Option<Glob>,
    /// The runtime's id of the container.
    id: Option<Glob>,
    /// The namespace of its pod.
    namespace: Option<Glob>,
    /// The name of its pod.
    pod: Option<Glob>,
    /// The name of the container in its pod.
    container: Option<Glob>,
    /// Any of the names of its image: as the pod has it, or with the digest.
    image: Option<Glob>,
    /// The service account of its pod.
    service_account: Option<Glob>,
    /// What made its pod, as KIND/NAME: `Deployment/web`.
    owner: Option<Glob>,
    /// Labels of its pod.
    labels: BTreeMap<String, Glob>,
    /// Annotations of the container, or such of its pod that begin with `seccomp-agent/`.
    annotations: BTreeMap<String, Glob>,
    /// Lines `KEY=VALUE` of the profile's `listenerMetadata`.
    metadata: BTreeMap<String, Glob>,
}

/// What a container may ask for.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Honour {
    /// By lines `KEY=VALUE` of the profile's `listenerMetadata`.
    metadata: Vec<MetadataKey>,
    /// By annotations.
    annotations: Vec<AnnotationKey>,
}

/// What of a container is not as a rule says.
struct Mismatch {
    reason: String,
    /// Whether it is only not known, and the cluster may tell.
    pod_decides: bool,
}

/// The longest name of a rule: it stands in every line of a log.
const MAX_NAME: usize = 63;

impl Rule {
    /// Whether containers of the rule may be recorded.
    pub(crate) fn records(&self) -> bool {
        self.record.is_some() || self.complain.is_some() || self.honour.keys().any(Key::is_recording)
    }
}

impl Match {
    pub(crate) const fn asks_for_runtime(&self) -> bool {
        self.runtime.is_some()
    }

    /// Why `container` is none of the rule's; `None` if it is one.
    pub(crate) fn mismatch(&self, container: &Container) -> Option<String> {
        self.mismatches(container).into_iter().next().map(|mismatch| mismatch.reason)
    }

    /// Whether the rule is for `container`, of whose pod the cluster has not told yet; `None` if that may decide it.
    pub(crate) fn is_certainly_for(&self, container: &Container) -> Option<bool> {
        let mut is_for = Some(true);
        for mismatch in self.mismatches(container) {
            if !mismatch.pod_decides {
                return Some(false);
            }
            is_for = None;
        }
        is_for
    }

    fn mismatches(&self, container: &Container) -> Vec<Mismatch> {
        let (namespace, name) = container.pod_names();
        let pod = container.pod();
        let account = pod.and_then(|pod| pod.service_account.as_deref());
        let owner = pod.and_then(|pod| pod.owner.as_ref()).map(ToString::to_string);
        // Of a pod, only what is called what the runtime may have said.
        let (by_pod, by_name) = (pod.is_none(), |value: Option<&str>| pod.is_none() && value.is_none());
        let scalars = [
            ("runtime", &self.runtime, container.runtime.as_deref(), None, false),
            ("id", &self.id, Some(container.id.as_str()), None, false),
            ("namespace", &self.namespace, namespace, Field::Namespace.annotation(), by_name(namespace)),
            ("pod", &self.pod, name, Field::Pod.annotation(), by_name(name)),
            ("container", &self.container, container.name(), Field::Container.annotation(), false),
            ("service-account", &self.service_account, account, None, by_pod),
            ("owner", &self.owner, owner.as_deref(), None, by_pod),
        ];
        let scalars = scalars.into_iter().filter_map(|(what, pattern, value, annotation, pod_decides)| {
            let reason = differs(what, pattern.as_ref()?, value)?;
            let reason = match annotation {
                Some(key) if value.is_none() => format!("{reason} (no annotation {key})"),
                _ => reason,
            };
            Some(Mismatch { reason, pod_decides })
        });
        let image = self.image.iter().filter_map(|pattern| {
            let images = images(container);
            let matches = images.iter().any(|image| pattern.matches(image));
            let reason = if matches { None } else { differs("image", pattern, images.first().copied()) };
            Some(Mismatch { reason: reason?, pod_decides: by_pod })
        });
        let labels = self.labels.iter().filter_map(|(key, pattern)| {
            let value = pod.and_then(|pod| pod.labels.get(key));
            let reason = differs(&format!("label {key}"), pattern, value.map(String::as_str))?;
            Some(Mismatch { reason, pod_decides: by_pod })
        });
        let annotations = self.annotations.iter().filter_map(|(key, pattern)| {
            let of_pod = || pod.and_then(|pod| pod.annotations.get(key));
            let value = container.annotations.get(key).or_else(of_pod).map(String::as_str);
            let reason = differs(&format!("annotation {key}"), pattern, value)?;
            Some(Mismatch { reason, pod_decides: by_name(value) && key.starts_with(PREFIX) })
        });
        let lines = self.metadata.iter().filter_map(|(key, pattern)| {
            // As for requests, the last line counts.
            let value = metadata(container).filter(|(name, _)| name == key).last().map(|(_, value)| value);
            let reason = differs(&format!("metadata {key}"), pattern, value)?;
            Some(Mismatch { reason, pod_decides: false })
        });
        scalars.chain(image).chain(labels).chain(annotations).chain(lines).collect()
    }
}

impl Honour {
    pub(crate) fn honours(&self, source: Source, key: Key) -> bool {
        match source {
            Source::Metadata => self.metadata.contains(&MetadataKey(key)),
            Source::Annotation => self.annotations.contains(&AnnotationKey(key)),
        }
    }

    /// Whether a pod's annotations may ask for something, which no runtime passes on unasked.
    pub(crate) const fn asks_for_pod(&self) -> bool {
        !self.annotations.is_empty()
    }

    /// All that can be asked for, in whatever way.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.metadata.iter().map(|key| key.0).chain(self.annotations.iter().map(|key| key.0))
    }
}

impl TryFrom<String> for RuleName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            Err(format!("a rule's name has 1 to {MAX_NAME} printable characters"))
        } else {
            Ok(Self(name))
        }
    }
}

fn differs(what: &str, pattern: &Glob, value: Option<&str>) -> Option<String> {
    match value {
        Some(value) if pattern.matches(value) => None,
        Some(value) => Some(format!("{what} {value:?} does not match {:?}", pattern.pattern().to_string())),
        None => Some(format!("{what} is not known")),
    }
}
