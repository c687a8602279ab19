//! A rule: which containers it is for, what it honours, what it grants.

use std::collections::BTreeMap;

use seccomp_agent_registry::Container;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::grant::{Glob, Grants};
use crate::identity::{Field, identity};
use crate::request::{AnnotationKey, Key, MetadataKey, Source, metadata};
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
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    /// The program that handed the container over, without its directory: `runc`, `crun`.
    runtime: Option<Glob>,
    /// The runtime's id of the container.
    id: Option<Glob>,
    /// The name of the container in its pod.
    name: Option<Glob>,
    /// Annotations of the container.
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

/// The longest name of a rule: it stands in every line of a log.
const MAX_NAME: usize = 63;

/// The key that matches the container's name in its pod.
const NAME: &str = "name";

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
        let known = identity(container);
        let name = known.get(&Field::Container).map(String::as_str);
        let scalars = [
            ("runtime", &self.runtime, container.runtime.as_deref()),
            ("id", &self.id, Some(container.id.as_str())),
            (NAME, &self.name, name),
        ];
        let scalars =
            scalars.into_iter().filter_map(|(what, pattern, value)| differs(what, pattern.as_ref()?, value));
        let scalars = scalars.map(|reason| match name {
            None if reason.starts_with(NAME) => {
                format!("{reason} (no annotation {})", Field::Container.annotation().unwrap_or_default())
            }
            _ => reason,
        });
        let annotations = self.annotations.iter().filter_map(|(key, pattern)| {
            let value = container.annotations.get(key).map(String::as_str);
            differs(&format!("annotation {key}"), pattern, value)
        });
        let lines = self.metadata.iter().filter_map(|(key, pattern)| {
            // As for requests, the last line counts.
            let value = metadata(container).filter(|(name, _)| name == key).last().map(|(_, value)| value);
            differs(&format!("metadata {key}"), pattern, value)
        });
        scalars.chain(annotations).chain(lines).next()
    }
}

impl Honour {
    pub(crate) fn honours(&self, source: Source, key: Key) -> bool {
        match source {
            Source::Metadata => self.metadata.contains(&MetadataKey(key)),
            Source::Annotation => self.annotations.contains(&AnnotationKey(key)),
        }
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
