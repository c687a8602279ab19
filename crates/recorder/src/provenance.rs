use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::seen::{FirstCaller, Origin};

/// Why a profile that was made of a recording allows what it allows; to be kept beside it, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Provenance {
    /// Of this format: 1.
    pub version: u64,
    /// How many runs were recorded.
    pub runs: u64,
    /// How many of these saw only what was not known before, so that they say nothing of how often what was known was
    /// made. Of more than 64 runs, those that were added up are not among them.
    pub partial: u64,
    /// The runtimes that started them, as far as it is known.
    pub runtimes: BTreeSet<String>,
    /// The images that they were of, as far as it is known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub images: BTreeSet<String>,
    /// The workloads that they belonged to, as far as it is known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub workloads: BTreeSet<String>,
    /// The runtimes that the profile is for.
    #[serde(rename = "for")]
    pub target: String,
    /// Whether it is for containers with `no_new_privs` only.
    pub no_new_privs: bool,
    /// The names of all calls that are allowed, each with all reasons.
    pub allowed: BTreeMap<String, Vec<Reason>>,
    /// Calls that were recorded, or are needed otherwise, and that the base does not allow.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub refused_by_base: BTreeSet<String>,
    /// Calls that were recorded and that have no name, so that a profile cannot allow them; with their architecture.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unnamed: BTreeSet<String>,
}

/// Why a call is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The program made it.
    Recorded(Evidence),
    /// Only a runtime made it, before it started the program.
    Starting(Evidence),
    /// The runtime may need it before it has started the program.
    Runtime,
    /// Somebody allowed it by hand.
    Amended,
    /// The base allows it.
    Base,
    /// A program must be able to end.
    End,
    /// A program must be able to return from a signal's handler, and to go on where it was interrupted.
    Signal,
    /// The vDSO does it without a system call on most machines, and not on all.
    Vdso,
    /// Runtimes do not let it be notified, or a profile that asks only about what is unknown allowed it, so that recordings
    /// of containers do not show it.
    Unnotified,
    /// It takes the place of another call where the kernel lacks that.
    Instead {
        /// Which.
        of: String,
    },
}

/// What a recording says of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The architecture, by its OCI name.
    pub architecture: String,
    /// How often it was made, a runtime's own calls included.
    pub count: u64,
    /// In how many of the runs.
    pub runs: u64,
    /// When first, in seconds since 1970.
    pub first: u64,
    /// When last, in seconds since 1970.
    pub last: u64,
    /// What kinds of processes made it, as far as it is known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub by: BTreeSet<Origin>,
    /// Who made it first, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<FirstCaller>,
}

impl Provenance {
    /// As JSON, indented.
    #[expect(clippy::expect_used, reason = "nothing in it can fail to be written")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("only a map with keys that are no strings cannot be written");
        text.push('\n');
        text
    }
}
