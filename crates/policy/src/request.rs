//! What a container's author asks for: lines `KEY=VALUE` of the profile's `listenerMetadata`, and annotations
//! `seccomp-agent/KEY`. A request counts if the rule honours it; else it is only reported.

use std::collections::BTreeMap;
use std::fmt;

use seccomp_agent_registry::Container;
use serde::{Deserialize, Serialize};

use crate::near::hint;

/// What annotations that ask for something begin with.
pub(crate) const PREFIX: &str = "seccomp-agent/";
/// Requests that are looked at, of each kind. There are not so many keys; the rest is noise.
const MAX_REQUESTS: usize = 64;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A suffix to the names of new directories, as a template.
    MkdirTmpl,
    /// Which programs start late.
    ExecPattern,
    /// How late they start.
    ExecDuration,
    /// That procfs can be mounted.
    MountProc,
    /// That sysfs can be mounted.
    MountSysfs,
    /// Which other file systems can be mounted.
    MountOtherFsList,
    /// That only who may mount anyway can mount what is asked for.
    MountNeedCapAdmin,
    /// Which containers of the pod start at once.
    Sidecars,
    /// How late the others start.
    SidecarsDelay,
    /// Who is told of calls.
    Middleware,
    /// What becomes of calls that nothing else answers.
    DefaultAction,
    /// To be recorded.
    Record,
    /// That what no handler answers is a violation.
    Complain,
}

/// A key of `listenerMetadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("enum" = Key::ALL.map(Key::name)))
)]
#[serde(try_from = "String")]
pub(crate) struct MetadataKey(pub(crate) Key);

/// An annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("enum" = Key::ALL.map(Key::annotation)))
)]
#[serde(try_from = "String")]
pub(crate) struct AnnotationKey(pub(crate) Key);

/// Where a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// In `listenerMetadata` of the seccomp profile.
    Metadata,
    /// In an annotation of the container, or of its pod.
    Annotation,
}

/// Something that a container asks for, and whether it gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// Where it was made.
    pub source: Source,
    /// What is asked for, as it was written.
    pub key: String,
    /// The parameter; nothing if it is no request.
    pub value: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The rule honours it.
    Honoured,
    /// The rule does not honour it, or there is no rule.
    NotHonoured,
    /// Nobody knows what it asks for.
    Unknown,
    /// It is a line of metadata that is no `KEY=VALUE`.
    NoRequest,
}

/// The requests of a container that count, and where each was made. An annotation comes before metadata: it
/// is of this container, the profile of many.
pub(crate) type Honoured = BTreeMap<Key, (String, String)>;

impl Key {
    pub(crate) const ALL: [Self; 13] = [
        Self::MkdirTmpl,
        Self::ExecPattern,
        Self::ExecDuration,
        Self::MountProc,
        Self::MountSysfs,
        Self::MountOtherFsList,
        Self::MountNeedCapAdmin,
        Self::Sidecars,
        Self::SidecarsDelay,
        Self::Middleware,
        Self::DefaultAction,
        Self::Record,
        Self::Complain,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MkdirTmpl => "MKDIR_TMPL",
            Self::ExecPattern => "EXEC_PATTERN",
            Self::ExecDuration => "EXEC_DURATION",
            Self::MountProc => "MOUNT_PROC",
            Self::MountSysfs => "MOUNT_SYSFS",
            Self::MountOtherFsList => "MOUNT_OTHER_FS_LIST",
            Self::MountNeedCapAdmin => "MOUNT_NEED_CAP_ADMIN",
            Self::Sidecars => "SIDECARS",
            Self::SidecarsDelay => "SIDECARS_DELAY",
            Self::Middleware => "MIDDLEWARE",
            Self::DefaultAction => "DEFAULT_ACTION",
            Self::Record => seccomp_agent_recorder::RECORD,
            Self::Complain => seccomp_agent_recorder::COMPLAIN,
        }
    }

    /// Whether it asks for less, so that it counts unless the policy grants less still: whoever honours the rest of what
    /// is asked for, and not that, would grant more than was.
    pub(crate) fn only_restricts(self) -> bool {
        self == Self::MountNeedCapAdmin
    }

    /// Whether it asks to be recorded in one way or the other.
    pub(crate) fn is_recording(self) -> bool {
        matches!(self, Self::Record | Self::Complain)
    }

    fn annotation(self) -> String {
        format!("{PREFIX}{}", self.name())
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

impl TryFrom<String> for MetadataKey {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let unknown =
            || format!("{name:?} is nothing that can be asked for{}", hint(&name, Key::ALL.map(Key::name)));
        Key::named(&name).map(Self).ok_or_else(unknown)
    }
}

impl TryFrom<String> for AnnotationKey {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let all = Key::ALL.map(Key::annotation);
        let unknown = || {
            let hint = hint(&name, all.iter().map(String::as_str));
            format!("{name:?} is nothing that can be asked for: such annotations begin with {PREFIX}{hint}")
        };
        name.strip_prefix(PREFIX).and_then(Key::named).map(Self).ok_or_else(unknown)
    }
}

/// The lines of a container's metadata that say `KEY=VALUE`.
pub(crate) fn metadata(container: &Container) -> impl Iterator<Item = (&str, &str)> {
    container.metadata.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value))
}

/// What a container asks for, and which of it counts by what is honoured.
pub(crate) fn requests(
    container: &Container,
    is_honoured: impl Fn(Source, Key, &str) -> bool,
) -> (Vec<Request>, Honoured) {
    let metadata = metadata(container).map(|(key, value)| (Source::Metadata, key, key, value));
    // Those of the pod, of which the container's are a part where the runtime passes them on.
    let of_pod = container.pod().into_iter().flat_map(|pod| &pod.annotations);
    let of_pod = of_pod.filter(|(key, _)| !container.annotations.contains_key(*key));
    let annotations = of_pod.chain(&container.annotations).filter_map(|(key, value)| {
        let short = key.strip_prefix(PREFIX)?;
        Some((Source::Annotation, key.as_str(), short, value.as_str()))
    });
    let others =
        container.metadata.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('='));
    let others = others.take(MAX_REQUESTS).map(|line| Request {
        source: Source::Metadata,
        key: line.to_owned(),
        value: String::new(),
        outcome: Outcome::NoRequest,
    });
    let mut honoured = Honoured::new();
    let requests = metadata.take(MAX_REQUESTS).chain(annotations.take(MAX_REQUESTS));
    let requests = requests.map(|(source, written, name, value)| {
        let outcome = match Key::named(name) {
            Some(key) if is_honoured(source, key, value) => {
                // What one of the two asks for less of, the other cannot have back.
                if !(key.only_restricts() && value == "false") {
                    honoured.insert(key, (value.to_owned(), format!("{source} {written}")));
                }
                Outcome::Honoured
            }
            Some(_) => Outcome::NotHonoured,
            None => Outcome::Unknown,
        };
        Request { source, key: written.to_owned(), value: value.to_owned(), outcome }
    });
    (requests.chain(others).collect(), honoured)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata",
            Self::Annotation => "annotation",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honoured => "honoured",
            Self::NotHonoured => "not honoured",
            Self::Unknown => "unknown",
            Self::NoRequest => "no KEY=VALUE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_honoured_counts_and_annotations_come_first() {
        let mut container = Container::named("c");
        container.metadata =
            "MKDIR_TMPL=-m\r\nno request\r\n\nMOUNT_PROC=true\nSIDECARS\nFOO=1\nEXEC_PATTERN=a=b\n".into();
        container.annotations =
            [("seccomp-agent/MKDIR_TMPL", "-a"), ("seccomp-agent/MOUNT_PROC", "true"), ("other/x", "y")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        let (requests, honoured) =
            requests(&container, |source, key, _| key != Key::MountProc || source == Source::Annotation);
        let outcomes: Vec<_> =
            requests.iter().map(|request| (request.key.as_str(), request.outcome)).collect();
        assert_eq!(
            outcomes,
            [
                ("MKDIR_TMPL", Outcome::Honoured),
                ("MOUNT_PROC", Outcome::NotHonoured),
                ("FOO", Outcome::Unknown),
                ("EXEC_PATTERN", Outcome::Honoured),
                ("seccomp-agent/MKDIR_TMPL", Outcome::Honoured),
                ("seccomp-agent/MOUNT_PROC", Outcome::Honoured),
                ("no request", Outcome::NoRequest),
                ("SIDECARS", Outcome::NoRequest),
            ]
        );
        let values: Vec<_> = honoured.into_iter().map(|(key, (value, _))| (key.name(), value)).collect();
        let expected = [("MKDIR_TMPL", "-a"), ("EXEC_PATTERN", "a=b"), ("MOUNT_PROC", "true")];
        assert_eq!(values, expected.map(|(key, value)| (key, value.to_owned())));
    }
}
