use crate::action::Action;
use crate::condition::Condition;
use crate::json::{RawProfile, RawRule};
use seccomp_agent_syscall::Arch;
use serde::{Deserialize, Serialize};

/// A seccomp profile as its author wrote it: `linux.seccomp` of the [OCI runtime specification].
///
/// What it means for a machine, [`Profile::resolve`] says.
///
/// [OCI runtime specification]: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawProfile", into = "RawProfile")]
pub struct Profile {
    /// For calls that no rule names.
    pub default_action: Action,
    /// The architectures whose calls the rules are for. The machine's own is always one of them.
    pub architectures: Vec<Arch>,
    /// Flags of seccomp(2). `None`, where the author says nothing, is `SPEC_ALLOW` to runc.
    pub flags: Option<Vec<Flag>>,
    /// The socket that gets the listener of a profile with [`Action::Notify`].
    pub listener_path: Option<String>,
    /// Text for whoever listens there.
    pub listener_metadata: Option<String>,
    /// The rules, in the author's order.
    pub rules: Vec<Rule>,
}

/// An entry of `syscalls`: calls, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRule", into = "RawRule")]
pub struct Rule {
    /// Names of system calls. One that an architecture does not have means nothing there.
    pub names: Vec<String>,
    /// What becomes of a call that the conditions match.
    pub action: Action,
    /// Tests of the arguments: all of them have to match, or, when two are of one argument, any.
    pub conditions: Vec<Condition>,
}

/// A `SECCOMP_FILTER_FLAG_*` that a profile can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Flag {
    /// For all threads of the process.
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    /// Write what is not allowed to the audit log.
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    /// Leave out the Speculative Store Bypass mitigation.
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    /// A notified call, once received, is interrupted by fatal signals only.
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillableRecv,
}

impl Profile {
    /// A profile without rules.
    pub fn new(default_action: Action) -> Self {
        Self {
            default_action,
            architectures: Vec::new(),
            flags: None,
            listener_path: None,
            listener_metadata: None,
            rules: Vec::new(),
        }
    }

    /// Adds a rule for all calls of these names.
    #[must_use]
    pub fn rule<N: Into<String>>(self, action: Action, names: impl IntoIterator<Item = N>) -> Self {
        self.rule_when(action, names, [])
    }

    /// Adds a rule for the calls of these names that match the conditions.
    #[must_use]
    pub fn rule_when<N: Into<String>>(
        mut self,
        action: Action,
        names: impl IntoIterator<Item = N>,
        conditions: impl IntoIterator<Item = Condition>,
    ) -> Self {
        self.rules.push(Rule {
            names: names.into_iter().map(Into::into).collect(),
            action,
            conditions: conditions.into_iter().collect(),
        });
        self
    }

    /// Adds architectures.
    #[must_use]
    pub fn architectures(mut self, architectures: impl IntoIterator<Item = Arch>) -> Self {
        self.architectures.extend(architectures);
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: impl IntoIterator<Item = Flag>) -> Self {
        self.flags.get_or_insert_default().extend(flags);
        self
    }

    /// Whether a call can be notified, so that loading the profile makes a listener.
    pub fn has_listener(&self) -> bool {
        self.default_action == Action::Notify || self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// The flags for seccomp(2), as bits; those that runc takes where the author says nothing.
    pub fn filter_flags(&self) -> u32 {
        let flags = self.flags.as_deref().unwrap_or(&[Flag::SpecAllow]);
        flags.iter().fold(0, |bits, flag| bits | flag.bits())
    }
}

impl Flag {
    /// The `SECCOMP_FILTER_FLAG_*` of `linux/seccomp.h`.
    pub const fn bits(self) -> u32 {
        match self {
            Flag::Tsync => 1 << 0,
            Flag::Log => 1 << 1,
            Flag::SpecAllow => 1 << 2,
            Flag::WaitKillableRecv => 1 << 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_not_spoken_of_are_those_of_runc() {
        let profile = Profile::new(Action::Allow);
        assert_eq!(profile.filter_flags(), 4);
        assert_eq!(profile.clone().flags([]).filter_flags(), 0);
        assert_eq!(profile.flags([Flag::Log, Flag::WaitKillableRecv]).filter_flags(), 0x22);
    }
}
