use crate::action::Action;
use crate::condition::Condition;
use crate::data::SeccompData;
use seccomp_agent_syscall::{Arch, Syscall};
use std::collections::BTreeMap;
use std::fmt;

/// What a profile does on one machine: for every call, by architecture, number and arguments, an action.
///
/// Two profiles that are written differently and mean the same have the same normal form, but for comparisons that
/// are written differently (`< 5` and `<= 4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalForm {
    pub(crate) native: Arch,
    pub(crate) default_action: Action,
    pub(crate) tables: BTreeMap<Arch, Table>,
    pub(crate) unknown_is_enosys: bool,
}

/// The calls of one architecture that are not simply left to the default action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) calls: BTreeMap<u32, Decision>,
    /// The highest number that the profile names, be it for the default action.
    pub(crate) last: Option<u32>,
}

/// What becomes of one system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decision {
    /// The first case that matches counts.
    pub cases: Vec<Case>,
    /// What counts when none matches.
    pub otherwise: Action,
}

/// An action for the arguments that meet all conditions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Case {
    /// At most one for an argument, by argument; at least one.
    pub conditions: Vec<Condition>,
    /// The action.
    pub action: Action,
}

/// For calls of architectures that the profile does not list: `SCMP_FLTATR_ACT_BADARCH` of libseccomp, which the
/// runtimes leave at its default.
pub(crate) const FOREIGN: Action = Action::KillThread;

/// `__X32_SYSCALL_BIT`: from this number on, libseccomp takes a call with the token of `x86_64` for one of x32.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

pub(crate) const ENOSYS: Action = Action::Errno(38);

impl NormalForm {
    /// The same with runc's answer to calls that are newer than the profile: `ENOSYS` above the highest number that
    /// the profile names, so that a C library falls back to an older call.
    ///
    /// Without effect when the default action lets calls through (`libcontainer/seccomp/patchbpf`). crun does not do
    /// this.
    #[must_use]
    pub fn with_enosys_for_unknown(self) -> Self {
        let refuses = !matches!(self.default_action, Action::Allow | Action::Log | Action::Trace(_));
        Self { unknown_is_enosys: refuses, ..self }
    }

    /// The architecture of the machine.
    pub fn native(&self) -> Arch {
        self.native
    }

    /// For calls that no rule names.
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// The architectures whose calls the rules are for; those of any other kill the thread.
    pub fn architectures(&self) -> impl Iterator<Item = Arch> {
        self.tables.keys().copied()
    }

    /// The calls that are decided otherwise than by the default action alone, by architecture and number.
    pub fn decisions(&self) -> impl Iterator<Item = (Syscall, &Decision)> {
        self.tables.iter().flat_map(|(arch, table)| {
            table.calls.iter().map(|(number, decision)| (Syscall::new(*arch, *number), decision))
        })
    }

    /// What becomes of this call, whatever its arguments.
    pub fn decision(&self, call: Syscall) -> Decision {
        let table = match self.tables.get(&call.arch) {
            Some(table) if self.unknown_is_enosys && table.is_unknown(call) => {
                return Decision::always(ENOSYS);
            }
            Some(_) if call.arch == Arch::X86_64 && call.number >= X32_BIT && !self.has(Arch::X32) => None,
            table => table,
        };
        let Some(table) = table else {
            // A tracer skips a call by making its number -1: libseccomp does not take that for an x32 call.
            let is_skipped = call == Syscall::new(Arch::X32, u32::MAX) && self.has(Arch::X86_64);
            return Decision::always(if is_skipped { self.default_action } else { FOREIGN });
        };
        table.calls.get(&call.number).cloned().unwrap_or(Decision::always(self.default_action))
    }

    /// What becomes of this call with these arguments.
    pub fn action_for(&self, call: Syscall, arguments: &[u64; 6]) -> Action {
        let decision = self.decision(call);
        if call.arch.is_32_bit() {
            decision.action_for(&arguments.map(|argument| argument & u64::from(u32::MAX)))
        } else {
            decision.action_for(arguments)
        }
    }

    /// What becomes of the call that a filter sees as `data`.
    pub fn action_for_data(&self, data: &SeccompData) -> Action {
        self.action_for(data.syscall(), &data.arguments)
    }

    fn has(&self, arch: Arch) -> bool {
        self.tables.contains_key(&arch)
    }
}

impl Table {
    /// Whether runc holds `call` for newer than the profile. 0 is `setup`, which `s390` shows for what it does not know.
    fn is_unknown(&self, call: Syscall) -> bool {
        let is_setup = call.number == 0 && matches!(call.arch, Arch::S390 | Arch::S390x);
        self.last.is_some_and(|last| call.number > last || is_setup)
    }
}

impl Decision {
    /// The same action whatever the arguments.
    pub const fn always(action: Action) -> Self {
        Self { cases: Vec::new(), otherwise: action }
    }

    /// What becomes of a call with these arguments.
    pub fn action_for(&self, arguments: &[u64; 6]) -> Action {
        self.cases.iter().find(|case| case.matches(arguments)).map_or(self.otherwise, |case| case.action)
    }
}

impl Case {
    /// Whether all conditions are met.
    pub fn matches(&self, arguments: &[u64; 6]) -> bool {
        self.conditions.iter().all(|condition| condition.matches(arguments))
    }

    /// Whether no arguments match both. `false` does not promise that some do.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        self.conditions.iter().any(|a| other.conditions.iter().any(|b| a.excludes(*b)))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, condition) in self.conditions.iter().enumerate() {
            write!(f, "{}{condition}", if i == 0 { "" } else { " and " })?;
        }
        write!(f, ": {}", self.action)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            write!(f, "{case}; ")?;
        }
        if !self.cases.is_empty() {
            f.write_str("otherwise ")?;
        }
        write!(f, "{}", self.otherwise)
    }
}

/// A line for each decided call, under a line for each architecture.
impl fmt::Display for NormalForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (arch, table) in &self.tables {
            writeln!(f, "{arch}: {}", self.default_action)?;
            if let (true, Some(last)) = (self.unknown_is_enosys, table.last) {
                writeln!(f, "  above {last}: {ENOSYS}")?;
            }
            for (number, decision) in &table.calls {
                writeln!(f, "  {}: {decision}", Syscall::new(*arch, *number))?;
            }
        }
        writeln!(f, "other architectures: {FOREIGN}")
    }
}
