use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_syscall::{Arch, Syscall, is_known_name, nearest};
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::counts::Counts;
use crate::json::RawRecording;

/// What one or several runs of a container did.
///
/// As JSON it has a version, and each call by name, or by number where this program knows no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRecording", into = "RawRecording")]
pub struct Recording {
    pub(crate) runs: u64,
    pub(crate) runtimes: BTreeSet<String>,
    pub(crate) calls: BTreeMap<Syscall, Seen>,
    pub(crate) elsewhere: u64,
    /// Names of calls that somebody allowed by hand.
    pub(crate) amended: BTreeSet<String>,
}

/// A name that no architecture has a call of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no system call{}", meant(.name))]
pub struct UnknownCall {
    /// The name.
    pub name: String,
}

/// What is known of one call of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// How often it was notified. A call that a signal interrupted may have been notified again.
    pub count: u64,
    /// How many of these were a runtime's, before it started the program.
    pub starting: u64,
    /// In how many of the runs it was seen.
    pub runs: u64,
    /// When first, in seconds since 1970.
    pub first: u64,
    /// When last, in seconds since 1970.
    pub last: u64,
    /// Of its arguments, if it is a call where a rule on them pays.
    pub arguments: Option<Arguments>,
}

impl Recording {
    /// One of no runs; merging it changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which runtime started the container, such as `runc`.
    #[must_use]
    pub fn by_runtime(mut self, name: impl Into<String>) -> Self {
        self.runtimes.insert(name.into());
        self
    }

    /// How many runs it is of.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The runtimes that started them, as far as it is known.
    pub fn runtimes(&self) -> impl Iterator<Item = &str> {
        self.runtimes.iter().map(String::as_str)
    }

    /// All calls, by architecture and number.
    pub fn calls(&self) -> impl Iterator<Item = (Syscall, &Seen)> {
        self.calls.iter().map(|(syscall, seen)| (*syscall, seen))
    }

    /// What is known of one call; `None` if it was never seen.
    pub fn seen(&self, syscall: Syscall) -> Option<&Seen> {
        self.calls.get(&syscall)
    }

    /// The architectures that calls were seen of.
    pub fn architectures(&self) -> BTreeSet<Arch> {
        self.calls.keys().map(|syscall| syscall.arch).collect()
    }

    /// How many calls were of no architecture or number that exists. No profile can allow them.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// Has profiles allow a call that no run has shown; whether they did not before.
    pub fn amend(&mut self, name: &str) -> Result<bool, UnknownCall> {
        if !is_known_name(name) {
            return Err(UnknownCall { name: name.to_owned() });
        }
        Ok(self.amended.insert(name.to_owned()))
    }

    /// Takes an amendment back; whether there was one.
    pub fn withdraw(&mut self, name: &str) -> bool {
        self.amended.remove(name)
    }

    /// The calls that were allowed by hand, by name.
    pub fn amended(&self) -> impl Iterator<Item = &str> {
        self.amended.iter().map(String::as_str)
    }

    /// Forgets the calls that were last seen before this time, in seconds since 1970, and returns them. The runs stay:
    /// they are what shows that the calls are no longer made.
    pub fn forget_before(&mut self, time: u64) -> Vec<Syscall> {
        let old = self.calls.iter().filter(|(_, seen)| seen.last < time);
        let old: Vec<_> = old.map(|(syscall, _)| *syscall).collect();
        self.calls.retain(|_, seen| seen.last >= time);
        old
    }

    /// Adds the runs of another recording. In whichever order recordings are merged, the result is the same; merged
    /// twice, a recording's runs count twice, which changes no profile that is made of it.
    pub fn merge(&mut self, other: &Self) {
        self.runs = self.runs.saturating_add(other.runs);
        self.runtimes.extend(other.runtimes.iter().cloned());
        self.elsewhere = self.elsewhere.saturating_add(other.elsewhere);
        self.amended.extend(other.amended.iter().cloned());
        for (syscall, theirs) in &other.calls {
            self.calls
                .entry(*syscall)
                .and_modify(|ours| ours.merge(theirs))
                .or_insert_with(|| theirs.clone());
        }
    }

    pub(crate) fn of(counts: &Counts) -> Self {
        let calls = counts.tallies().map(|tally| {
            let seen = Seen {
                count: tally.count,
                starting: tally.starting,
                runs: 1,
                first: tally.first.into(),
                last: tally.last.into(),
                arguments: counts.arguments(tally.syscall),
            };
            (tally.syscall, seen)
        });
        Self {
            runs: 1,
            runtimes: BTreeSet::new(),
            calls: calls.collect(),
            elsewhere: counts.elsewhere(),
            amended: BTreeSet::new(),
        }
    }
}

fn meant(name: &str) -> String {
    let all = Arch::all().flat_map(Syscall::all).filter_map(Syscall::name);
    nearest(name, all).map(|meant| format!(", did you mean {meant:?}?")).unwrap_or_default()
}

impl Seen {
    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.starting = self.starting.saturating_add(other.starting);
        self.runs = self.runs.saturating_add(other.runs);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.arguments = Arguments::merged(self.arguments.as_ref(), other.arguments.as_ref());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::watched::Watched;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    fn arguments(syscall: Syscall) -> BoxedStrategy<Option<Arguments>> {
        let Some((_, watched)) = Watched::find(syscall) else { return Just(None).boxed() };
        let values = btree_set(vec(0..2_u64, watched.len()), 1..4)
            .prop_map(|set| set.into_iter().filter(|values| watched.could_be(values)).collect());
        prop_oneof![Just(Some(Arguments::Any)), values.prop_map(|values| Some(Arguments::new(values)))]
            .boxed()
    }

    fn seen(syscall: Syscall) -> impl Strategy<Value = Seen> {
        let arguments = arguments(syscall);
        (1..9_u64, 0..9_u64, 1..3_u64, 5..9_u64, 9..12_u64, arguments).prop_map(
            |(count, starting, runs, first, last, arguments)| Seen {
                count,
                starting: starting.min(count),
                runs,
                first,
                last,
                arguments,
            },
        )
    }

    /// Recordings of few different calls, so that they meet.
    pub(crate) fn recording() -> impl Strategy<Value = Recording> {
        let names = ["read", "socket", "mprotect", "fcntl", "getppid"];
        let natives = names.map(|name| Syscall::named(Arch::X86_64, name).unwrap());
        let calls = natives
            .into_iter()
            .chain([Syscall::named(Arch::X86, "socket").unwrap(), Syscall::new(Arch::X86_64, 571)]);
        let calls: Vec<_> = calls.collect();
        let call = proptest::sample::select(calls).prop_flat_map(|call| (Just(call), seen(call)));
        let runtimes = btree_set(proptest::sample::select(&["runc", "crun"][..]), 0..3);
        let amended = btree_set(proptest::sample::select(&["read", "mkdir"][..]), 0..3);
        (btree_map(0..7_u8, call, 0..6), runtimes, 3..5_u64, 0..3_u64, amended).prop_map(
            |(calls, runtimes, runs, elsewhere, amended)| Recording {
                runs,
                runtimes: runtimes.into_iter().map(str::to_owned).collect(),
                calls: calls.into_values().collect(),
                elsewhere,
                amended: amended.into_iter().map(str::to_owned).collect(),
            },
        )
    }

    fn merged(a: &Recording, b: &Recording) -> Recording {
        let mut merged = a.clone();
        merged.merge(b);
        merged
    }

    #[test]
    fn a_misspelt_call_is_not_amended_and_what_was_meant_is_named() {
        let mut recording = Recording::new();
        let message = recording.amend("opneat").unwrap_err().to_string();
        assert!(message.contains("\"opneat\"") && message.contains("\"openat\""), "{message}");
        assert_eq!((recording.amend("openat"), recording.amend("openat")), (Ok(true), Ok(false)));
        assert!(recording.withdraw("openat") && !recording.withdraw("openat"));
    }

    proptest! {
        #[test]
        fn what_is_forgotten_was_last_seen_before_and_the_rest_stays(a in recording(), time in 8..13_u64) {
            let mut left = a.clone();
            let forgotten = left.forget_before(time);
            for (call, seen) in a.calls() {
                prop_assert_eq!(forgotten.contains(&call), seen.last < time);
                prop_assert_eq!(left.seen(call), Some(seen).filter(|seen| seen.last >= time));
            }
            prop_assert_eq!(left.runs(), a.runs());
        }

        #[test]
        fn merging_is_the_same_in_either_order(a in recording(), b in recording()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        }

        #[test]
        fn merging_is_the_same_however_it_is_grouped(a in recording(), b in recording(), c in recording()) {
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn no_runs_add_nothing(a in recording()) {
            prop_assert_eq!(merged(&a, &Recording::new()), a.clone());
            prop_assert_eq!(merged(&Recording::new(), &a), a);
        }

        #[test]
        fn merging_with_itself_changes_counts_and_nothing_else(a in recording()) {
            let twice = merged(&a, &a);
            prop_assert_eq!(twice.runs, 2 * a.runs);
            prop_assert_eq!(&twice.runtimes, &a.runtimes);
            let what = |recording: &Recording| -> Vec<_> {
                let calls = recording.calls.iter();
                calls.map(|(call, seen)| (*call, seen.first, seen.last, seen.arguments.clone())).collect()
            };
            prop_assert_eq!(what(&twice), what(&a));
            for (call, seen) in a.calls() {
                let both = twice.seen(call).unwrap();
                prop_assert_eq!((both.count, both.runs, both.starting), (2 * seen.count, 2 * seen.runs, 2 * seen.starting));
            }
        }

        #[test]
        fn nothing_that_either_saw_is_lost(a in recording(), b in recording()) {
            let both = merged(&a, &b);
            for (call, seen) in a.calls().chain(b.calls()) {
                let kept = both.seen(call).unwrap();
                prop_assert!(kept.count >= seen.count && kept.first <= seen.first && kept.last >= seen.last);
                if let (Some(Arguments::Values(kept)), Some(Arguments::Values(seen))) = (&kept.arguments, &seen.arguments) {
                    prop_assert!(kept.is_superset(seen));
                }
            }
        }
    }
}
