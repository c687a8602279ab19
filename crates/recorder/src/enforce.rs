use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_profile::{Action, Condition, Profile};
use seccomp_agent_syscall::{Arch, Syscall};

use crate::arguments::Arguments;
use crate::closure::closure;
use crate::observe::UNNOTIFIED;
use crate::provenance::{Evidence, Provenance, Reason};
use crate::recording::Recording;
use crate::seen::Seen;
use crate::target::{GO, Target};
use crate::watched::Watched;

/// What kind of profile is made of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforce {
    target: Target,
    no_new_privs: bool,
    arguments: bool,
    default_action: Action,
    base: Option<Profile>,
    arch: Arch,
}

impl Default for Enforce {
    fn default() -> Self {
        Self::new()
    }
}

impl Enforce {
    /// Allows what was recorded and what every program needs, under any runtime, with `no_new_privs` or without, on this
    /// machine and its like; everything else fails with EPERM.
    pub fn new() -> Self {
        Self {
            target: Target::Any,
            no_new_privs: false,
            arguments: false,
            default_action: Action::Errno(1),
            base: None,
            arch: Arch::native(),
        }
    }

    /// Under this runtime only.
    #[must_use]
    pub fn under(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// With `no_new_privs` only: runtimes then do less under the filter.
    #[must_use]
    pub fn with_no_new_privs(self) -> Self {
        Self { no_new_privs: true, ..self }
    }

    /// Allows calls with the arguments only that were seen, where these were kept, and all runs were looked at as a whole.
    #[must_use]
    pub fn with_arguments(self) -> Self {
        Self { arguments: true, ..self }
    }

    /// Does this to calls that are not allowed.
    #[must_use]
    pub fn otherwise(self, default_action: Action) -> Self {
        Self { default_action, ..self }
    }

    /// Begins with the rules, flags and listener of another profile. What it decides stays decided: a call that it
    /// refuses is not allowed, though it was recorded.
    #[must_use]
    pub fn on(self, base: Profile) -> Self {
        Self { base: Some(base), ..self }
    }

    /// For machines of this architecture; those that it also runs are included.
    #[must_use]
    pub fn machine(self, arch: Arch) -> Self {
        Self { arch, ..self }
    }

    /// The profile, and why it allows what it allows.
    ///
    /// Profiles name calls, for all architectures alike: what a 32-bit program was seen to do is allowed to others as
    /// well.
    pub fn profile(&self, recording: &Recording) -> (Profile, Provenance) {
        let family = self.arch.family();
        let mut calls = recording.calls();
        calls.retain(|syscall, _| family.contains(&syscall.arch));
        let mut provenance = self.explain(recording, &calls);
        let mut profile = self.base.clone().unwrap_or_else(|| Profile::new(self.default_action));
        profile.default_action = self.default_action;
        for arch in self.arch.family() {
            if !profile.architectures.contains(arch) {
                profile.architectures.push(*arch);
            }
        }
        let mut whole = Vec::new();
        let mut narrow = Vec::new();
        let is_ours = |reasons: &[Reason]| reasons.iter().any(|reason| *reason != Reason::Base);
        for (name, reasons) in provenance.allowed.iter().filter(|(_, reasons)| is_ours(reasons)) {
            match self.decided_by_base(name) {
                Some(Decided::Allowed) => {}
                Some(Decided::Refused) => {
                    provenance.refused_by_base.insert(name.clone());
                }
                // Under a profile that allows it, a call may have had arguments that nobody saw.
                None if recording.has_partial_run() => whole.push(name.clone()),
                None => match self.alternatives(&calls, name, reasons) {
                    None => whole.push(name.clone()),
                    Some(all) => narrow.extend(all.into_iter().map(|conditions| (name.clone(), conditions))),
                },
            }
        }
        provenance.allowed.retain(|name, _| !provenance.refused_by_base.contains(name));
        profile = profile.rule(Action::Allow, whole);
        for (name, conditions) in narrow {
            profile = profile.rule_when(Action::Allow, [name], conditions);
        }
        (profile, provenance)
    }

    /// All names that should be allowed, whatever the base says.
    fn explain(&self, recording: &Recording, calls: &Calls) -> Provenance {
        let mut allowed: BTreeMap<String, Vec<Reason>> = BTreeMap::new();
        let mut allow = |name: &str, reason| allowed.entry(name.to_owned()).or_default().push(reason);
        let mut unnamed = BTreeSet::new();
        let mut archs = BTreeSet::from([self.arch]);
        for (syscall, seen) in calls {
            archs.insert(syscall.arch);
            let is_program = seen.count > seen.starting;
            match syscall.name() {
                None => {
                    unnamed.insert(syscall.to_string());
                }
                Some(name) if is_program => allow(name, Reason::Recorded(evidence(*syscall, seen))),
                Some(name) if self.concerns(recording) => {
                    allow(name, Reason::Starting(evidence(*syscall, seen)));
                }
                Some(_) => {}
            }
        }
        for name in recording.amended() {
            allow(name, Reason::Amended);
        }
        if recording.runtimes() != BTreeSet::from([EXACT]) {
            for name in UNNOTIFIED {
                allow(name, Reason::Unnotified);
            }
        }
        if recording.has_partial_run() {
            for name in GO.iter().filter(|name| !UNNOTIFIED.contains(name)) {
                allow(name, Reason::Unnotified);
            }
        }
        for name in self.target.needs(self.no_new_privs) {
            allow(name, Reason::Runtime);
        }
        let makes = |name: &str| calls.keys().any(|syscall| syscall.name() == Some(name));
        for (name, reason) in closure(&archs, makes) {
            allow(name, reason);
        }
        for rule in self.base.iter().flat_map(|base| &base.rules).filter(|rule| rule.action.is_permissive()) {
            rule.names.iter().for_each(|name| allow(name, Reason::Base));
        }
        Provenance {
            version: 1,
            runs: recording.runs(),
            partial: recording.partial_runs(),
            runtimes: owned(recording.runtimes()),
            images: owned(recording.images()),
            workloads: owned(recording.workloads()),
            target: self.target.to_string(),
            no_new_privs: self.no_new_privs,
            allowed,
            refused_by_base: BTreeSet::new(),
            unnamed,
        }
    }

    /// Whether what runtimes were seen to do before the program says something of ours.
    fn concerns(&self, recording: &Recording) -> bool {
        self.target == Target::Any
            || recording.runtimes().into_iter().any(|name| self.target.includes(name))
            // What a runtime was seen to do was then not looked at when the program did it.
            || recording.has_partial_run()
    }

    fn decided_by_base(&self, name: &str) -> Option<Decided> {
        let rules = self.base.iter().flat_map(|base| &base.rules);
        let rules = rules.filter(|rule| rule.names.iter().any(|other| other == name));
        let mut decided = None;
        for rule in rules {
            if !rule.action.is_permissive() {
                return Some(Decided::Refused);
            }
            if rule.conditions.is_empty() {
                decided = Some(Decided::Allowed);
            }
        }
        decided
    }

    /// Of which conditions one has to hold; `None` where the call is allowed as it is.
    fn alternatives(&self, calls: &Calls, name: &str, reasons: &[Reason]) -> Option<Vec<Vec<Condition>>> {
        let is_seen =
            |reason: &Reason| matches!(reason, Reason::Recorded(_) | Reason::Starting(_) | Reason::Base);
        if !self.arguments || !reasons.iter().all(is_seen) {
            return None;
        }
        let mut union: Option<(&Watched, Arguments)> = None;
        for (syscall, seen) in calls.iter().filter(|(syscall, _)| syscall.name() == Some(name)) {
            let (_, watched) = Watched::find(*syscall)?;
            let arguments = seen.arguments.as_ref()?;
            let arguments = union.map_or_else(|| arguments.clone(), |(_, others)| others.union(arguments));
            union = Some((watched, arguments));
        }
        let (watched, Arguments::Values(all)) = union? else { return None };
        let is_everything = watched.is_everything(all.len());
        (!is_everything).then(|| all.iter().map(|values| watched.conditions(values)).collect())
    }
}

/// What recordings call the launcher of this workspace, under which every call is seen.
const EXACT: &str = "seccomp-agent";

/// What was seen of each call that the machine runs.
type Calls = BTreeMap<Syscall, Seen>;

/// What a base says of a call, whatever its arguments.
enum Decided {
    Allowed,
    /// Or some of it, which no rule of ours may undo.
    Refused,
}

fn evidence(syscall: Syscall, seen: &Seen) -> Evidence {
    Evidence {
        architecture: syscall.arch.oci_name().unwrap_or_default().to_owned(),
        count: seen.count,
        runs: seen.runs,
        first: seen.first,
        last: seen.last,
        by: seen.by.clone(),
        caller: seen.caller.clone(),
    }
}

fn owned(labels: BTreeSet<&str>) -> BTreeSet<String> {
    labels.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::recording::tests::recording;
    use crate::run_id::RunId;
    use proptest::prelude::*;
    use seccomp_agent_profile::{Comparison, Warning, compile};

    const EPERM: Action = Action::Errno(1);

    fn machine() -> Enforce {
        Enforce::new().machine(Arch::X86_64)
    }

    fn named(arch: Arch, name: &str) -> Syscall {
        Syscall::named(arch, name).unwrap()
    }

    /// Two runs under `runtime`, in which the program made these calls, a runtime `getuid`, and both `close`.
    fn recorded(runtime: &str, calls: &[(Arch, &str, Option<Arguments>)]) -> Recording {
        let seen = |count, starting, arguments: &Option<Arguments>| Seen {
            count,
            starting,
            arguments: arguments.clone(),
            ..crate::seen::tests::once()
        };
        let mut recording = Recording::of_run(RunId::now(), Facts::default()).by_runtime(runtime);
        for facts in recording.runs.values_mut() {
            facts.calls.insert(named(Arch::X86_64, "getuid"), seen(1, 1, &None));
            facts.calls.insert(named(Arch::X86_64, "close"), seen(3, 1, &None));
            for (arch, name, arguments) in calls {
                facts.calls.insert(named(*arch, name), seen(1, 0, arguments));
            }
        }
        recording.merge(&Recording::of_run(RunId::now(), Facts::default()));
        recording
    }

    fn values<const N: usize>(all: [&[u64]; N]) -> Arguments {
        Arguments::new(all.into_iter().map(<[u64]>::to_vec).collect())
    }

    fn action(profile: &Profile, arch: Arch, name: &str, args: [u64; 6]) -> Action {
        profile.resolve(Arch::X86_64).normal_form.action_for(named(arch, name), &args)
    }

    fn allows(profile: &Profile, name: &str) -> bool {
        action(profile, Arch::X86_64, name, [0; 6]) == Action::Allow
    }

    #[test]
    fn what_was_amended_is_allowed_whatever_its_arguments() {
        let seen = Arguments::Values(BTreeSet::from([vec![2, 1, 0]]));
        let mut recording = recorded("runc", &[(Arch::X86_64, "socket", Some(seen))]);
        recording.amend("socket").unwrap();
        recording.amend("mkdir").unwrap();
        let (profile, why) = machine().with_arguments().profile(&recording);
        assert_eq!(why.allowed["mkdir"], [Reason::Amended]);
        assert!(profile.rules[0].names.contains(&"socket".to_owned()));
    }

    #[test]
    fn what_was_recorded_is_allowed_and_nothing_else() {
        let (profile, provenance) = machine().profile(&recorded("runc", &[(Arch::X86_64, "mkdir", None)]));
        assert!(allows(&profile, "mkdir") && allows(&profile, "close") && allows(&profile, "exit_group"));
        assert_eq!(action(&profile, Arch::X86_64, "rmdir", [0; 6]), EPERM);
        let why = &provenance.allowed["mkdir"];
        assert!(
            matches!(&why[..], [Reason::Recorded(evidence)] if (evidence.count, evidence.runs) == (1, 1))
        );
        assert!(!provenance.allowed.contains_key("rmdir"));
    }

    #[test]
    fn what_a_runtime_did_is_allowed_to_runtimes_of_its_kind() {
        let recording = recorded("crun", &[]);
        for (target, expected) in [(Target::Runc, false), (Target::Crun, true), (Target::Any, true)] {
            let (profile, provenance) = machine().under(target).profile(&recording);
            assert_eq!(allows(&profile, "getuid"), expected, "{target}");
            assert_eq!(provenance.allowed.contains_key("getuid"), expected, "{target}");
            assert!(allows(&profile, "execve") && allows(&profile, "capset"), "{target}");
        }
        let (profile, _) = machine().under(Target::Runc).with_no_new_privs().profile(&recording);
        assert!(allows(&profile, "execve") && !allows(&profile, "capset"));
        let (profile, _) = machine().under(Target::Runc).profile(&recording.partially());
        assert!(allows(&profile, "getuid"), "the program may have made it without being seen");
    }

    #[test]
    fn what_no_listener_of_a_runtime_shows_is_allowed() {
        for (runtime, expected) in [("crun", true), ("seccomp-agent", false)] {
            let (profile, why) = machine().under(Target::Crun).profile(&recorded(runtime, &[]));
            assert_eq!(allows(&profile, "futex"), expected, "{runtime}");
            assert_eq!(why.allowed.contains_key("futex"), expected, "{runtime}");
        }
    }

    #[test]
    fn what_a_profile_that_asks_about_the_unknown_alone_allows_is_allowed() {
        for (recording, allowed) in [
            (Recording::of_run(RunId::now(), Facts::default()), false),
            (Recording::of_run(RunId::now(), Facts::default()).partially(), true),
        ] {
            let (profile, _) = machine().under(Target::Crun).profile(&recording);
            assert_eq!(allows(&profile, "epoll_pwait"), allowed);
        }
    }

    #[test]
    fn arguments_count_when_asked_for() {
        let sockets = Some(values([&[2, 1, 6], &[10, 2, 0]]));
        let recording = recorded("runc", &[(Arch::X86_64, "socket", sockets)]);
        let (narrow, _) = machine().with_arguments().profile(&recording);
        let (whole, _) = machine().profile(&recording);
        for (args, expected) in [
            ([2, 1, 6, 0, 0, 0], Action::Allow),
            ([2, 0x80801, 6, 9, 9, 9], Action::Allow),
            ([10, 2, 0, 0, 0, 0], Action::Allow),
            ([2, 2, 0, 0, 0, 0], EPERM),
            ([16, 3, 0, 0, 0, 0], EPERM),
        ] {
            assert_eq!(action(&narrow, Arch::X86_64, "socket", args), expected, "{args:?}");
            assert_eq!(action(&whole, Arch::X86_64, "socket", args), Action::Allow, "{args:?}");
        }
    }

    #[test]
    fn arguments_that_a_profile_may_have_hidden_do_not_count() {
        let whole = recorded("runc", &[(Arch::X86_64, "socket", Some(values([&[2, 1, 6]])))]);
        let mut partial = whole.clone();
        partial.merge(&Recording::of_run(RunId::now(), Facts::default()).partially());
        let mut added_up = partial.clone();
        added_up.add_up(0);
        for (recording, expected) in [(whole, EPERM), (partial, Action::Allow), (added_up, Action::Allow)] {
            let (profile, why) = machine().with_arguments().profile(&recording);
            assert_eq!(action(&profile, Arch::X86_64, "socket", [16, 3, 0, 0, 0, 0]), expected);
            assert_eq!(why.partial, recording.partial_runs());
        }
    }

    #[test]
    fn a_call_that_has_another_reason_is_allowed_whole() {
        let seen = Some(values([&[3]]));
        let calls = [
            (Arch::X86_64, "prctl", seen.clone()),
            (Arch::X86_64, "clone", seen),
            (Arch::X86_64, "clone3", None),
        ];
        let recording = recorded("runc", &calls);
        let enforce = machine().with_arguments().under(Target::Runc);
        let (profile, _) = enforce.profile(&recording);
        assert!(allows(&profile, "prctl"), "runc needs it");
        let (profile, _) = enforce.with_no_new_privs().profile(&recording);
        assert!(!allows(&profile, "prctl"), "runc no longer needs it");
        let (profile, _) = machine().with_arguments().under(Target::Crun).profile(&recording);
        assert!(allows(&profile, "clone"), "it takes the place of clone3");
    }

    #[test]
    fn too_many_or_all_arguments_are_no_rule() {
        let calls = [
            (Arch::X86_64, "ioctl", Some(Arguments::Any)),
            (Arch::X86_64, "mprotect", Some(values([&[0], &[4]]))),
            (Arch::X86_64, "mmap", Some(values([&[0]]))),
            (Arch::X86, "mmap", None),
        ];
        let (profile, _) = machine().under(Target::Crun).with_arguments().profile(&recorded("crun", &calls));
        assert!(profile.rules.iter().all(|rule| rule.conditions.is_empty()), "{profile:?}");
        assert!(["ioctl", "mprotect", "mmap"].iter().all(|name| allows(&profile, name)));
    }

    #[test]
    fn thirty_two_bit_programs_get_what_they_need() {
        let (profile, _) = machine().profile(&recorded("runc", &[(Arch::X86, "fcntl64", None)]));
        for name in ["fcntl64", "sigreturn", "clock_gettime64", "exit"] {
            assert_eq!(action(&profile, Arch::X86, name, [0; 6]), Action::Allow, "{name}");
        }
        assert_eq!(action(&profile, Arch::X86, "mkdir", [0; 6]), EPERM);
    }

    #[test]
    fn what_a_base_decides_stays_decided() {
        let condition = |value| Condition::new(0, Comparison::Equal(value)).unwrap();
        let base = Profile::new(Action::Allow)
            .rule(Action::Allow, ["chown"])
            .rule_when(Action::Allow, ["personality"], [condition(8)])
            .rule(Action::Errno(38), ["clone3"])
            .rule_when(Action::Errno(1), ["unshare"], [condition(7)]);
        let calls =
            [(Arch::X86_64, "clone3", None), (Arch::X86_64, "unshare", None), (Arch::X86_64, "chown", None)];
        let (profile, provenance) = machine().on(base).profile(&recorded("runc", &calls));
        assert!(allows(&profile, "chown"));
        assert_eq!(action(&profile, Arch::X86_64, "clone3", [0; 6]), Action::Errno(38));
        assert_eq!(action(&profile, Arch::X86_64, "personality", [8, 0, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(action(&profile, Arch::X86_64, "personality", [0; 6]), EPERM);
        assert_eq!(action(&profile, Arch::X86_64, "rmdir", [0; 6]), EPERM);
        assert_eq!(provenance.refused_by_base.iter().collect::<Vec<_>>(), ["clone3", "unshare"]);
        assert!(!provenance.allowed.contains_key("unshare"));
        assert!(provenance.allowed["personality"].contains(&Reason::Base));
    }

    #[test]
    fn a_call_without_a_name_is_reported() {
        let mut recording = recorded("runc", &[]);
        let unnamed = [(Syscall::new(Arch::X86_64, 571), crate::seen::tests::once())];
        let facts = Facts { calls: unnamed.into(), ..Facts::default() };
        recording.merge(&Recording::of_run(RunId::now(), facts));
        let (_, provenance) = machine().profile(&recording);
        assert_eq!(provenance.unnamed.iter().collect::<Vec<_>>(), ["x86_64:571"]);
    }

    #[test]
    fn the_provenance_is_json_that_says_why() {
        let (_, provenance) = machine().profile(&recorded("runc", &[(Arch::X86_64, "clone3", None)]));
        let json: serde_json::Value = serde_json::from_str(&provenance.to_json()).unwrap();
        assert_eq!((&json["version"], &json["runs"], &json["for"]), (&1.into(), &2.into(), &"any".into()));
        assert_eq!(json["allowed"]["clone3"][0]["because"], "recorded");
        assert_eq!(json["allowed"]["clone3"][0]["architecture"], "SCMP_ARCH_X86_64");
        let why = &json["allowed"]["clone"];
        let instead = serde_json::json!({"because": "instead", "of": "clone3"});
        assert!(why.as_array().is_some_and(|why| why.contains(&instead)), "{why}");
    }

    proptest! {
        #[test]
        fn every_recorded_call_is_allowed_with_the_arguments_that_were_seen(
            recording in recording(), arguments: bool, target in proptest::sample::select(&[Target::Runc, Target::Crun, Target::Any][..]),
        ) {
            let mut enforce = machine().under(target);
            enforce.arguments = arguments;
            let (profile, _) = enforce.profile(&recording);
            let resolution = profile.resolve(Arch::X86_64);
            let is_usual = |warning: &Warning| matches!(warning, Warning::NotOnArchitecture { .. });
            prop_assert!(resolution.warnings.iter().all(is_usual), "{:?}", resolution.warnings);
            prop_assert!(compile(&resolution.normal_form).is_ok());
            for (call, seen) in recording.calls().into_iter().filter(|(call, seen)| call.name().is_some() && seen.count > seen.starting) {
                let Some(Arguments::Values(all)) = &seen.arguments else {
                    prop_assert_eq!(resolution.normal_form.action_for(call, &[7; 6]), Action::Allow, "{}", call);
                    continue;
                };
                let (_, watched) = Watched::find(call).unwrap();
                for values in all {
                    let conditions = watched.conditions(values);
                    let mut args = [0xffff_ffff_0000_0000; 6];
                    for condition in conditions {
                        if let Comparison::MaskedEqual { value, .. } = condition.comparison() {
                            args[usize::from(condition.argument())] |= value;
                        }
                    }
                    prop_assert_eq!(resolution.normal_form.action_for(call, &args), Action::Allow, "{} {:?}", call, args);
                }
            }
        }

        #[test]
        fn merging_a_recording_again_changes_no_profile(recording in recording(), arguments: bool) {
            let mut enforce = machine();
            enforce.arguments = arguments;
            let mut twice = recording.clone();
            twice.merge(&recording);
            prop_assert_eq!(enforce.profile(&twice).0, enforce.profile(&recording).0);
        }
    }
}
