use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::values::MAX_VALUES;

/// What is known of the arguments of a call that a rule could tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Arguments {
    /// There were too many to keep, or some were not looked at: no rule can say what the call needs.
    Any,
    /// Exactly these were seen. Each has one number for each argument that counts, such as a socket's family, type
    /// and protocol.
    Values(BTreeSet<Vec<u64>>),
}

impl Arguments {
    pub(crate) fn new(values: BTreeSet<Vec<u64>>) -> Self {
        // A call that was seen had arguments.
        if values.is_empty() || values.len() > MAX_VALUES { Self::Any } else { Self::Values(values) }
    }

    /// What either says was seen.
    pub(crate) fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Values(ours), Self::Values(theirs)) => Self::new(ours | theirs),
            _ => Self::Any,
        }
    }

    /// The same of two recordings that both have the call, and of which one may not have looked.
    pub(crate) fn merged(ours: Option<&Self>, theirs: Option<&Self>) -> Option<Self> {
        match (ours, theirs) {
            (None, None) => None,
            (Some(ours), Some(theirs)) => Some(ours.union(theirs)),
            (Some(_), None) | (None, Some(_)) => Some(Self::Any),
        }
    }
}
