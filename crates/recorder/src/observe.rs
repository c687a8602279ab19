use std::collections::BTreeSet;

use seccomp_agent_profile::{Action, Profile};
use seccomp_agent_syscall::{Arch, Syscall};

use crate::name::Name;
use crate::recording::Recording;
use crate::target::{GO, Target};

/// Makes profiles under which an agent sees what a container does.
///
/// runc takes no profile that notifies by default. So under runc calls are notified by their names, all but
/// [`unnotified`](Self::unnotified), and what its libseccomp has no name for is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    name: Name,
    listener: String,
    target: Target,
    arch: Arch,
}

/// The key of `listenerMetadata` that asks to be recorded.
pub const RECORD: &str = "RECORD";

/// What stands behind the name of the recording where the profile does not notify what is known.
pub const UNKNOWN: &str = ",unknown";

/// The key of `listenerMetadata` that asks for what is notified to be taken for violations.
pub const COMPLAIN: &str = "COMPLAIN";

/// What runc does between loading the filter and handing the listener over, while nobody can answer: it says by `write`
/// that there is one, and its Go runtime may interrupt that thread for another (`rt_sigreturn`, `futex`). runc refuses a
/// profile that notifies the first; under one that notifies the others, about one start in fifty never ends on a busy
/// machine.
pub(crate) const UNNOTIFIED: &[&str] = &["futex", "rt_sigreturn", "write"];

impl Observe {
    /// For containers whose recording has this name, by the agent that listens at this path; under any runtime, on this
    /// machine and its like.
    pub fn new(name: Name, listener: impl Into<String>) -> Self {
        Self { name, listener: listener.into(), target: Target::Any, arch: Arch::native() }
    }

    /// Under this runtime only.
    #[must_use]
    pub fn under(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// For machines of this architecture; those that it also runs are included.
    #[must_use]
    pub fn machine(self, arch: Arch) -> Self {
        Self { arch, ..self }
    }

    /// The names of the calls that cannot be notified, and so are not seen.
    pub fn unnotified(&self) -> &'static [&'static str] {
        if self.target == Target::Crun { &[] } else { UNNOTIFIED }
    }

    /// Notifies every call: all are recorded, each time.
    pub fn everything(&self) -> Profile {
        self.recording(&BTreeSet::new(), "")
    }

    /// Notifies what is not known yet, and allows the rest, so that the more often a container was recorded, the less
    /// recording it costs. Arguments of what is known are not seen any more.
    ///
    /// What runc's own threads do at times and at times not is known as well, if anything is.
    pub fn unknown(&self, recording: &Recording) -> Profile {
        let calls = recording.calls();
        let family = self.arch.family();
        let seen =
            calls.keys().filter(|syscall| family.contains(&syscall.arch)).filter_map(|call| call.name());
        let mut known: BTreeSet<_> = seen.collect();
        if !known.is_empty() && self.target != Target::Crun {
            known.extend(GO);
        }
        let is_everything = known.is_empty();
        self.recording(&known, if is_everything { "" } else { UNKNOWN })
    }

    /// Does what `profile` does to the calls that it names, and leaves all others to the agent, which takes them for
    /// violations.
    pub fn complaining(&self, profile: &Profile) -> Profile {
        let named: BTreeSet<_> =
            profile.rules.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
        let asking = format!("{COMPLAIN}={}", self.name);
        self.heard(profile.clone().rule(Action::Notify, self.others(&named)), asking)
    }

    fn recording(&self, known: &BTreeSet<&str>, how: &str) -> Profile {
        let asking = format!("{RECORD}={}{how}", self.name);
        let profile = if self.target == Target::Crun {
            Profile::new(Action::Notify).rule(Action::Allow, known.iter().copied())
        } else {
            Profile::new(Action::Allow).rule(Action::Notify, self.others(known))
        };
        self.heard(profile, asking)
    }

    fn heard(&self, mut profile: Profile, asking: String) -> Profile {
        for arch in self.arch.family() {
            if !profile.architectures.contains(arch) {
                profile.architectures.push(*arch);
            }
        }
        profile.rules.retain(|rule| !rule.names.is_empty());
        profile.listener_path = Some(self.listener.clone());
        profile.listener_metadata = Some(asking);
        profile
    }

    /// The names of all calls but these.
    fn others(&self, known: &BTreeSet<&str>) -> BTreeSet<&'static str> {
        let all = self.arch.family().iter().flat_map(|arch| Syscall::all(*arch));
        let names = all.filter_map(Syscall::name).filter(|name| !known.contains(name));
        names.filter(|name| !self.unnotified().contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::Enforce;
    use crate::facts::Facts;
    use crate::run_id::RunId;
    use seccomp_agent_profile::compile;

    fn observe(target: Target) -> Observe {
        Observe::new("web".parse().unwrap(), "/run/agent.socket").under(target).machine(Arch::X86_64)
    }

    fn recorded(names: &[&str]) -> Recording {
        let call = |name: &&str| (Syscall::named(Arch::X86_64, name).unwrap(), crate::seen::tests::once());
        let facts = Facts { calls: names.iter().map(call).collect(), ..Facts::default() };
        Recording::of_run(RunId::now(), facts)
    }

    fn action(profile: &Profile, arch: Arch, name: &str) -> Action {
        let resolution = profile.resolve(Arch::X86_64);
        assert!(compile(&resolution.normal_form).is_ok());
        resolution.normal_form.action_for(Syscall::named(arch, name).unwrap(), &[0; 6])
    }

    #[test]
    fn everything_is_notified_but_what_runc_needs_before_anybody_answers() {
        for (target, write) in
            [(Target::Runc, Action::Allow), (Target::Any, Action::Allow), (Target::Crun, Action::Notify)]
        {
            let profile = observe(target).everything();
            for name in ["write", "futex", "rt_sigreturn"] {
                assert_eq!(action(&profile, Arch::X86_64, name), write, "{name} under {target}");
            }
            for (arch, name) in [(Arch::X86_64, "openat"), (Arch::X86, "socketcall"), (Arch::X32, "read")] {
                assert_eq!(action(&profile, arch, name), Action::Notify, "{name} under {target}");
            }
            assert_eq!(profile.default_action == Action::Notify, target == Target::Crun);
            assert_eq!(profile.listener_metadata.as_deref(), Some("RECORD=web"));
            assert_eq!(profile.listener_path.as_deref(), Some("/run/agent.socket"));
        }
    }

    #[test]
    fn what_is_known_is_allowed_at_the_next_start() {
        for target in [Target::Runc, Target::Crun] {
            let profile = observe(target).unknown(&recorded(&["openat", "read"]));
            assert_eq!(profile.listener_metadata.as_deref(), Some("RECORD=web,unknown"));
            for (name, expected) in
                [("openat", Action::Allow), ("read", Action::Allow), ("mkdir", Action::Notify)]
            {
                assert_eq!(action(&profile, Arch::X86_64, name), expected, "{name} under {target}");
            }
            assert_eq!(action(&profile, Arch::X86_64, "futex") == Action::Allow, target == Target::Runc);
            assert_eq!(observe(target).unknown(&Recording::new()), observe(target).everything());
        }
    }

    #[test]
    fn what_an_enforcing_profile_does_not_name_is_left_to_the_agent() {
        let base = Profile::new(Action::Allow).rule(Action::Errno(38), ["clone3"]);
        let enforce = Enforce::new().machine(Arch::X86_64).on(base);
        let (profile, _) = enforce.profile(&recorded(&["mkdir"]));
        let complaining = observe(Target::Any).complaining(&profile);
        for (name, expected) in [
            ("mkdir", Action::Allow),
            ("write", Action::Allow),
            ("clone3", Action::Errno(38)),
            ("rmdir", Action::Notify),
        ] {
            assert_eq!(action(&complaining, Arch::X86_64, name), expected, "{name}");
        }
        assert_eq!(complaining.default_action, Action::Errno(1));
        assert_eq!(complaining.listener_metadata.as_deref(), Some("COMPLAIN=web"));
    }
}
