use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_syscall::{Arch, Syscall, is_known_name, nearest};

use crate::facts::{Facts, MAX_LABEL};
use crate::run_id::RunId;
use crate::seen::{Seen, is_obeyed};

/// What one or several runs of a container did.
///
/// Each run is kept apart, so that it counts once however often it is merged; of very many, the oldest together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pub(crate) runs: BTreeMap<RunId, Facts>,
    pub(crate) earlier: Earlier,
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

/// Runs that are no longer told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// How many.
    pub(crate) runs: u64,
    /// Which, of as many as are known.
    pub(crate) ids: BTreeSet<RunId>,
    pub(crate) facts: Facts,
}

/// So many runs are kept apart, at some 10 KB each.
pub(crate) const MAX_RUNS: usize = 64;

/// Of so many more it is known that they are counted already.
pub(crate) const MAX_EARLIER: usize = 1024;

impl Recording {
    /// One of no runs; merging it changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of_run(id: RunId, facts: Facts) -> Self {
        Self { runs: [(id, facts)].into(), ..Self::default() }
    }

    /// Says which runtime started the container, such as `runc`.
    #[must_use]
    pub fn by_runtime(self, name: impl Into<String>) -> Self {
        self.labelled(&name.into(), |facts| &mut facts.runtimes)
    }

    /// Says of which image it was.
    #[must_use]
    pub fn of_image(self, name: impl Into<String>) -> Self {
        self.labelled(&name.into(), |facts| &mut facts.images)
    }

    /// Says which container of which workload it was, such as `shop/frontend/web`.
    #[must_use]
    pub fn of_workload(self, name: impl Into<String>) -> Self {
        self.labelled(&name.into(), |facts| &mut facts.workloads)
    }

    /// How many runs it is of.
    pub fn runs(&self) -> u64 {
        self.earlier.runs.saturating_add(self.runs.len() as u64)
    }

    /// Of how many runs only a [part](Self::partially) was looked at, as far as they are kept apart.
    pub fn partial_runs(&self) -> u64 {
        self.runs.values().filter(|facts| facts.is_partial).count() as u64
    }

    /// Each run that is kept apart as a recording of its own, oldest first.
    pub fn each_run(&self) -> impl DoubleEndedIterator<Item = (RunId, Self)> {
        self.runs.iter().map(|(id, facts)| (*id, Self::of_run(*id, facts.clone())))
    }

    /// Says that what was known before was not looked at, as under a profile that allows it.
    #[must_use]
    pub fn partially(mut self) -> Self {
        for facts in self.runs.values_mut() {
            facts.is_partial = true;
        }
        self
    }

    /// Only the newest runs, at most so many of those that are kept apart: what older ones alone did is forgotten. Runs
    /// of which only a [part](Self::partially) was looked at come with the whole one before them, and do not count.
    /// Where fewer whole ones are kept apart, those that were added up may have been, and stay. So does what was allowed
    /// by hand.
    #[must_use]
    pub fn newest(&self, most: usize) -> Self {
        let mut whole = 0;
        let mut runs = BTreeMap::new();
        for (id, facts) in self.runs.iter().rev() {
            if whole == most {
                break;
            }
            whole += usize::from(!facts.is_partial);
            runs.insert(*id, facts.clone());
        }
        let earlier = if whole < most { self.earlier.clone() } else { Earlier::default() };
        Self { runs, earlier, amended: self.amended.clone() }
    }

    /// The runtimes that started them, as far as it is known.
    pub fn runtimes(&self) -> BTreeSet<&str> {
        self.labels(|facts| &facts.runtimes)
    }

    /// The images that they were of, as far as it is known.
    pub fn images(&self) -> BTreeSet<&str> {
        self.labels(|facts| &facts.images)
    }

    /// The workloads that they belonged to, as far as it is known.
    pub fn workloads(&self) -> BTreeSet<&str> {
        self.labels(|facts| &facts.workloads)
    }

    /// What is known of each call in all runs together, by architecture and number.
    pub fn calls(&self) -> BTreeMap<Syscall, Seen> {
        let mut all = BTreeMap::<Syscall, Seen>::new();
        for (syscall, seen) in self.facts().flat_map(|facts| &facts.calls) {
            let entry = all.entry(*syscall).and_modify(|known| known.add(seen));
            entry.or_insert_with(|| seen.clone());
        }
        all
    }

    /// What is known of one call; `None` if it was never seen.
    pub fn seen(&self, syscall: Syscall) -> Option<Seen> {
        let each = self.facts().filter_map(|facts| facts.calls.get(&syscall)).cloned();
        each.reduce(|mut all, seen| {
            all.add(&seen);
            all
        })
    }

    /// The architectures that calls were seen of.
    pub fn architectures(&self) -> BTreeSet<Arch> {
        self.facts().flat_map(|facts| facts.calls.keys()).map(|syscall| syscall.arch).collect()
    }

    /// How many calls were of no architecture or number that exists. No profile can allow them.
    pub fn elsewhere(&self) -> u64 {
        self.facts().fold(0, |sum, facts| sum.saturating_add(facts.elsewhere))
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

    /// Whether any run that began at this time or later, in seconds since 1970, was looked at as a whole, so that a call
    /// that has not been seen since then was not made either.
    pub fn has_whole_run_since(&self, time: u64) -> bool {
        self.runs.iter().any(|(id, facts)| id.began() >= time && !facts.is_partial)
    }

    /// Whether of any run only a [part](Self::partially) was looked at.
    pub(crate) fn has_partial_run(&self) -> bool {
        self.facts().any(|facts| facts.is_partial)
    }

    /// Forgets the calls that were last seen before this time, in seconds since 1970, and returns them. The runs stay:
    /// they are what shows that the calls are no longer made.
    pub fn forget_before(&mut self, time: u64) -> Vec<Syscall> {
        let calls = self.calls();
        let old = calls.into_iter().filter(|(_, seen)| seen.last < time).map(|(syscall, _)| syscall);
        let old: Vec<_> = old.collect();
        for facts in self.runs.values_mut().chain([&mut self.earlier.facts]) {
            facts.calls.retain(|syscall, _| !old.contains(syscall));
        }
        old
    }

    /// Adds the runs of another recording. Those that are known already are completed and count once; in whichever
    /// order recordings are merged, the result is the same.
    ///
    /// That holds for 64 runs. Of more, the oldest are added up, and 1,024 of these are still known to have been. Where
    /// both recordings have added up some of the same, the greater count stands, which then is too low. It changes no
    /// profile: no call and no argument is ever lost.
    pub fn merge(&mut self, other: &Self) {
        for (id, facts) in &other.runs {
            self.runs.entry(*id).or_default().join(facts);
        }
        self.amended.extend(other.amended.iter().cloned());
        self.earlier.merge(&other.earlier);
        let (apart, added_up) =
            std::mem::take(&mut self.runs).into_iter().partition(|(id, _)| !self.earlier.ids.contains(id));
        self.runs = apart;
        let added_up: BTreeMap<RunId, Facts> = added_up;
        for facts in added_up.values() {
            self.earlier.facts.join(facts);
        }
        self.add_up(MAX_RUNS);
    }

    /// Adds the oldest runs up, until so many are kept apart.
    pub(crate) fn add_up(&mut self, apart: usize) {
        while self.runs.len() > apart
            && let Some((id, facts)) = self.runs.pop_first()
        {
            self.earlier.add(id, &facts);
        }
    }

    /// How many runs are kept apart.
    pub(crate) fn apart(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = &Facts> {
        self.runs.values().chain([&self.earlier.facts])
    }

    fn labelled(mut self, label: &str, of: impl Fn(&mut Facts) -> &mut BTreeSet<String>) -> Self {
        let fits = !label.is_empty() && label.len() <= MAX_LABEL && !label.contains(is_obeyed);
        for facts in self.runs.values_mut().filter(|_| fits) {
            of(facts).insert(label.to_owned());
        }
        self
    }

    fn labels(&self, of: impl Fn(&Facts) -> &BTreeSet<String>) -> BTreeSet<&str> {
        self.facts().flat_map(of).map(String::as_str).collect()
    }
}

impl Earlier {
    fn add(&mut self, id: RunId, facts: &Facts) {
        self.runs = self.runs.saturating_add(1);
        self.facts.add(facts);
        self.remember([id]);
    }

    fn merge(&mut self, other: &Self) {
        if self == other {
            return;
        }
        let common = self.ids.intersection(&other.ids).count() as u64;
        self.runs = self.runs.saturating_add(other.runs).saturating_sub(common);
        if common == 0 {
            self.facts.add(&other.facts);
        } else {
            self.facts.join(&other.facts);
        }
        self.remember(other.ids.iter().copied());
    }

    fn remember(&mut self, ids: impl IntoIterator<Item = RunId>) {
        self.ids.extend(ids);
        while self.ids.len() > MAX_EARLIER {
            self.ids.pop_first();
        }
    }
}

fn meant(name: &str) -> String {
    let all = Arch::all().flat_map(Syscall::all).filter_map(Syscall::name);
    nearest(name, all).map(|meant| format!(", did you mean {meant:?}?")).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use crate::seen::{FirstCaller, Origin};
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
        let by = btree_set(proptest::sample::select(&[Origin::Start, Origin::Exec, Origin::Probe][..]), 0..3);
        let caller = (5..9_u64, proptest::sample::select(&["sh", "cat"][..]));
        let caller = caller.prop_map(|(at, comm)| FirstCaller::new(at, comm.as_bytes(), b"/bin/busybox"));
        let who = (by, proptest::option::of(caller));
        (1..9_u64, 0..9_u64, 5..9_u64, 9..12_u64, arguments(syscall), who).prop_map(
            |(count, starting, first, last, arguments, (by, caller))| Seen {
                count,
                starting: starting.min(count),
                runs: 1,
                first,
                last,
                arguments,
                by,
                caller,
            },
        )
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let names = ["read", "socket", "mprotect", "fcntl", "getppid"];
        let natives = names.map(|name| Syscall::named(Arch::X86_64, name).unwrap());
        let calls = natives
            .into_iter()
            .chain([Syscall::named(Arch::X86, "socket").unwrap(), Syscall::new(Arch::X86_64, 571)]);
        let calls: Vec<_> = calls.collect();
        let call = proptest::sample::select(calls).prop_flat_map(|call| (Just(call), seen(call)));
        let labels =
            || btree_set(proptest::sample::select(&["runc", "crun"][..]).prop_map(str::to_owned), 0..3);
        (btree_map(0..7_u8, call, 0..6), [labels(), labels(), labels()], 0..3_u64).prop_map(
            |(calls, [runtimes, images, workloads], elsewhere)| Facts {
                runtimes,
                images,
                workloads,
                calls: calls.into_values().collect(),
                elsewhere,
                is_partial: false,
            },
        )
    }

    /// Recordings of few different runs and calls, so that they meet.
    pub(crate) fn recording() -> impl Strategy<Value = Recording> {
        let id = (0..6_u8).prop_map(|digit| format!("{digit:032x}").parse::<RunId>().unwrap());
        let runs = btree_map(id, facts(), 0..5);
        let amended =
            btree_set(proptest::sample::select(&["read", "mkdir"][..]).prop_map(str::to_owned), 0..3);
        (runs, amended).prop_map(|(runs, amended)| Recording { runs, earlier: Earlier::default(), amended })
    }

    fn merged(a: &Recording, b: &Recording) -> Recording {
        let mut merged = a.clone();
        merged.merge(b);
        merged
    }

    #[test]
    fn the_newest_runs_are_whole_with_the_parts_that_came_after() {
        let run = |digit: u8, is_partial| {
            let facts = Facts { is_partial, ..Facts::default() };
            Recording::of_run(format!("{digit:032x}").parse().unwrap(), facts)
        };
        let mut all = Recording::new();
        for (digit, is_partial) in [(1, false), (2, true), (3, false), (4, true), (5, true)] {
            all.merge(&run(digit, is_partial));
        }
        for (most, expected) in [(0, 0), (1, 3), (2, 5), (3, 5)] {
            assert_eq!(all.newest(most).runs(), expected, "{most}");
        }
        assert_eq!((all.runs(), all.partial_runs()), (5, 3));
        assert_eq!(run(1, false).partially(), run(1, true));
        let now = Recording::of_run(RunId::now(), Facts::default());
        assert!(now.has_whole_run_since(1) && !now.has_whole_run_since(u64::MAX));
        assert!(!now.partially().has_whole_run_since(1));
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
        fn a_run_counts_once_however_often_it_is_merged(a in recording(), b in recording()) {
            prop_assert_eq!(merged(&a, &a), a.clone());
            let both = merged(&a, &b);
            prop_assert_eq!(merged(&both, &b), both);
        }

        #[test]
        fn of_many_runs_the_oldest_are_added_up_and_none_is_counted_again(a in facts(), runs in 65..90_usize) {
            let each: Vec<_> = (0..runs).map(|_| Recording::of_run(RunId::now(), a.clone())).collect();
            let mut all = Recording::new();
            for _ in 0..2 {
                for one in &each {
                    all.merge(one);
                }
                prop_assert_eq!((all.runs(), all.runs.len()), (runs as u64, MAX_RUNS));
                for (call, seen) in &a.calls {
                    let kept = all.seen(*call).unwrap();
                    prop_assert_eq!((kept.count, kept.runs), (seen.count * runs as u64, runs as u64));
                }
            }
            let known = all.clone();
            all.merge(&known);
            prop_assert_eq!(&all, &known);
            let mut older = Recording::new();
            for one in &each[..70.min(runs)] {
                older.merge(one);
            }
            all.merge(&older);
            prop_assert_eq!(all.runs(), runs as u64);
        }

        #[test]
        fn nothing_that_either_saw_is_lost(a in recording(), b in recording()) {
            let both = merged(&a, &b);
            for (call, seen) in a.calls().into_iter().chain(b.calls()) {
                let kept = both.seen(call).unwrap();
                prop_assert!(kept.count >= seen.count && kept.first <= seen.first && kept.last >= seen.last);
                if let (Some(Arguments::Values(kept)), Some(Arguments::Values(seen))) = (&kept.arguments, &seen.arguments) {
                    prop_assert!(kept.is_superset(seen));
                }
            }
        }
    }
}
