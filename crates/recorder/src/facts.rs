use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_syscall::Syscall;

use crate::seen::Seen;

/// What was seen in one run, or in several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) runtimes: BTreeSet<String>,
    pub(crate) images: BTreeSet<String>,
    pub(crate) workloads: BTreeSet<String>,
    pub(crate) calls: BTreeMap<Syscall, Seen>,
    pub(crate) elsewhere: u64,
    /// Whether what was known before was not looked at, in any of the runs.
    pub(crate) is_partial: bool,
}

impl Facts {
    /// Adds what was seen in other runs.
    pub(crate) fn add(&mut self, other: &Self) {
        self.elsewhere = self.elsewhere.saturating_add(other.elsewhere);
        self.is_partial |= other.is_partial;
        self.merge(other, Seen::add);
    }

    /// Completes this by what is known otherwise of the same runs.
    pub(crate) fn join(&mut self, other: &Self) {
        self.elsewhere = self.elsewhere.max(other.elsewhere);
        self.is_partial |= other.is_partial;
        self.merge(other, Seen::join);
    }

    fn merge(&mut self, other: &Self, both: impl Fn(&mut Seen, &Seen)) {
        for (ours, theirs) in [
            (&mut self.runtimes, &other.runtimes),
            (&mut self.images, &other.images),
            (&mut self.workloads, &other.workloads),
        ] {
            for label in theirs {
                if ours.len() < MAX_LABELS {
                    ours.insert(label.clone());
                }
            }
        }
        for (syscall, theirs) in &other.calls {
            let entry = self.calls.entry(*syscall).and_modify(|ours| both(ours, theirs));
            entry.or_insert_with(|| theirs.clone());
        }
    }
}

/// More images or workloads than this of one recording are not named.
pub(crate) const MAX_LABELS: usize = 64;

/// Bytes of the name of a runtime, an image or a workload that are kept.
pub(crate) const MAX_LABEL: usize = 512;
