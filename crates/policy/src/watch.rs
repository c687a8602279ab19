//! What a rule has recorded of its containers.

use seccomp_agent_recorder::{Name, Subject, UNKNOWN};
use seccomp_agent_registry::Container;
use serde::Deserialize;

use crate::effect::RequestError;
use crate::explanation::Kept;
use crate::request::{Honoured, Key};
use crate::rule::Rule;
use crate::workload::subject;

/// That containers are recorded.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RecordRule {
    /// The recording; if left out, that of the pod's owner and the container, of the image's digest, or of the
    /// container's id.
    name: Option<RecordingName>,
    /// Whether the profile that the agent writes for the next start goes on notifying what is known.
    count_all: bool,
}

/// That notified calls which no handler answers are violations.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ComplainRule {
    /// The recording that they are violations of; if left out, as for `record`.
    name: Option<RecordingName>,
    /// Whether they fail with EPERM; else they continue.
    deny: bool,
}

/// 1 to 200 letters, digits, `.`, `_` and `-`, not beginning with `.`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$"))
)]
#[serde(try_from = "String")]
pub(crate) struct RecordingName(Name);

/// What is recorded of a container.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Watch {
    /// That all its notified calls are.
    pub record: Option<Subject>,
    /// That those are which no handler answers, as violations.
    pub complain: Option<Subject>,
    /// Whether violations fail with EPERM.
    pub deny: bool,
}

impl TryFrom<String> for RecordingName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map(Self).map_err(|invalid: seccomp_agent_recorder::InvalidName| invalid.to_string())
    }
}

/// What `rule` has recorded of `container`, with the requests that it honours, and why.
pub(crate) fn watch(
    rule: &Rule,
    honoured: &Honoured,
    container: &Container,
) -> Result<(Watch, Vec<Kept>), (String, RequestError)> {
    let mut kept = Vec::new();
    let mut of = |key, rule: Option<Option<&RecordingName>>, how| {
        let (name, by) = match (honoured.get(&key), rule) {
            (Some((value, origin)), given) if value.is_empty() => {
                (given.flatten().map(|name| name.0.clone()), origin.clone())
            }
            (Some((value, origin)), _) => {
                let name = value
                    .strip_suffix(UNKNOWN)
                    .unwrap_or(value)
                    .parse()
                    .map_err(|invalid| (origin.clone(), RequestError::Name(invalid)))?;
                (Some(name), origin.clone())
            }
            (None, Some(given)) => (given.map(|name| name.0.clone()), "rule".to_owned()),
            (None, None) => return Ok(None),
        };
        let subject = subject(container, name);
        kept.extend(subject.iter().map(|subject| Kept {
            name: subject.name.to_string(),
            how,
            by: by.clone(),
        }));
        Ok(subject)
    };
    let (record, complain) = (&rule.record, &rule.complain);
    let count_all = record.as_ref().is_some_and(|record| record.count_all);
    let deny = complain.as_ref().is_some_and(|complain| complain.deny);
    let recorded = if count_all { "recorded, each time in full" } else { "recorded" };
    let violating = if deny { "violations, refused" } else { "violations, allowed" };
    let named = record.as_ref().map(|record| record.name.as_ref());
    let record = of(Key::Record, named, recorded)?;
    let named = complain.as_ref().map(|complain| complain.name.as_ref());
    let complain = of(Key::Complain, named, violating)?;
    let record = record.map(|mut subject| {
        subject.count_all = count_all;
        // It grants nothing: the profile's own word counts, honoured or not.
        let asks = |line: &str| line.starts_with("RECORD=") && line.trim_end().ends_with(UNKNOWN);
        subject.unknown_only = container.metadata.lines().any(asks);
        subject
    });
    Ok((Watch { record, complain, deny }, kept))
}
