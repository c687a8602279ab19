use seccomp_agent_notify::Arch;
use seccomp_agent_notify::filter::{self, Flags, Instruction};
use seccomp_agent_profile::{Action, Flag, Profile, ProgramError, Warning, compile};
use serde::{Deserialize, Serialize};

/// A profile as the kernel will load it: exactly what the profile says, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(crate) wire: WireFilter,
}

/// The same on its way into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFilter {
    instructions: Vec<(u16, u8, u8, u32)>,
    flags: Vec<Flag>,
    pub(crate) has_listener: bool,
}

/// Why a profile cannot be loaded as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// Some of it would be left out, or means something else than it seems to.
    #[error("the profile would not do what it says: {}", list(.0))]
    Ambiguous(Vec<Warning>),
    /// It is too long for the kernel.
    #[error("the profile cannot be compiled: {0}")]
    Program(#[source] ProgramError),
    /// It wants a flag that this kernel does not have.
    #[error("the profile wants {flag:?}, which this kernel does not know")]
    Flag {
        /// Which.
        flag: Flag,
    },
}

impl Filter {
    /// The filter of `profile` on this machine.
    ///
    /// As with runc, a profile that refuses by default answers ENOSYS to calls that are newer than any it names.
    /// Unlike runc, which goes on, this refuses a profile that names an unknown call or that has rules without
    /// effect.
    pub fn new(profile: &Profile) -> Result<Self, FilterError> {
        let resolution = profile.resolve(Arch::native());
        let ambiguous: Vec<_> = resolution.warnings.into_iter().filter(changes_meaning).collect();
        if !ambiguous.is_empty() {
            return Err(FilterError::Ambiguous(ambiguous));
        }
        let mut meaning = resolution.normal_form;
        // What is to be asked for by default includes what nobody knows yet.
        if profile.default_action != Action::Notify {
            meaning = meaning.with_enosys_for_unknown();
        }
        let program = compile(&meaning).map_err(FilterError::Program)?;
        let has_listener = profile.has_listener();
        let flags = effective_flags(profile, has_listener);
        if let Some(flag) = flags.iter().find(|flag| !filter::knows(to_kernel(**flag))) {
            return Err(FilterError::Flag { flag: *flag });
        }
        let instructions = program.instructions().iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
        Ok(Self { wire: WireFilter { instructions, flags, has_listener } })
    }

    /// Whether loading it makes a listener: some call is notified.
    pub fn has_listener(&self) -> bool {
        self.wire.has_listener
    }
}

impl WireFilter {
    pub(crate) fn instructions(&self) -> Vec<Instruction> {
        self.instructions.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect()
    }

    pub(crate) fn flags(&self) -> Flags {
        self.flags.iter().fold(Flags::empty(), |all, flag| all.union(to_kernel(*flag)))
    }
}

/// A rule that does nothing, or something else than it says. What concerns other architectures is usual.
fn changes_meaning(warning: &Warning) -> bool {
    !matches!(warning, Warning::NotOnArchitecture { .. } | Warning::ForeignArchitecture { .. })
}

/// The flags that make a difference: the container has one thread when its filter is loaded, and without a
/// listener nobody receives.
fn effective_flags(profile: &Profile, has_listener: bool) -> Vec<Flag> {
    let flags = profile.flags.as_deref().unwrap_or(&[Flag::SpecAllow]);
    let mut flags: Vec<_> = flags
        .iter()
        .copied()
        .filter(|flag| *flag != Flag::Tsync && (has_listener || *flag != Flag::WaitKillableRecv))
        .collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

fn to_kernel(flag: Flag) -> Flags {
    match flag {
        Flag::Log => Flags::LOG,
        Flag::SpecAllow => Flags::SPEC_ALLOW,
        Flag::WaitKillableRecv => Flags::WAIT_KILLABLE_RECV,
        _ => Flags::empty(),
    }
}

fn list(warnings: &[Warning]) -> String {
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_profile::{Comparison, Condition};

    fn refusal(profile: &Profile) -> String {
        Filter::new(profile).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_name_is_refused_with_what_was_meant() {
        let message = refusal(&Profile::new(Action::Allow).rule(Action::Notify, ["mkdirr"]));
        assert!(message.contains("mkdirr") && message.contains("mkdir`?"), "{message}");
    }

    #[test]
    fn a_rule_without_effect_is_refused() {
        let profile =
            Profile::new(Action::Errno(1)).rule(Action::Allow, ["mkdir"]).rule(Action::Notify, ["mkdir"]);
        let message = refusal(&profile);
        assert!(message.contains("does nothing"), "{message}");
    }

    #[test]
    fn a_profile_that_is_too_long_for_the_kernel_is_refused_with_its_length() {
        let rules = (0..5000_u64).map(|value| Condition::new(0, Comparison::Equal(value * 3)).unwrap());
        let profile = rules.fold(Profile::new(Action::Allow), |profile, condition| {
            profile.rule_when(Action::Notify, ["mkdir"], [condition])
        });
        let message = refusal(&profile);
        assert!(message.contains("4096"), "{message}");
    }

    #[test]
    fn a_listener_is_made_only_if_something_is_notified() {
        let all = Profile::new(Action::Notify);
        assert!(Filter::new(&all).unwrap().has_listener());
        let none = Profile::new(Action::Allow).flags([Flag::Tsync, Flag::WaitKillableRecv, Flag::Log]);
        let filter = Filter::new(&none).unwrap();
        assert!(!filter.has_listener());
        assert_eq!(filter.wire.flags, [Flag::Log]);
    }
}
