use crate::action::Action;
use crate::normal::Case;
use seccomp_agent_syscall::{Arch, Syscall, nearest};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

/// Something in a profile that a runtime takes without a word, and that its author probably did not mean.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// No architecture has this call, so the rule does nothing for it.
    UnknownName {
        /// As it is written.
        name: String,
        /// What it was probably meant to be.
        near: Option<&'static str>,
    },
    /// These calls exist, but not on this architecture. Usual in a profile for several architectures.
    NotOnArchitecture {
        /// One of those that the profile is for.
        arch: Arch,
        /// The names, sorted.
        names: Vec<String>,
    },
    /// A listed architecture whose calls the machine does not run.
    ForeignArchitecture {
        /// As it is listed.
        arch: Arch,
        /// That of the machine.
        native: Arch,
    },
    /// The rule compares one argument twice and another one too: any one of its comparisons is then enough.
    AnyCondition {
        /// Its index in `syscalls`.
        rule: usize,
    },
    /// A rule without conditions takes this call; another rule, with another action, is never asked.
    Shadowed {
        /// The call.
        call: Syscall,
        /// The action that counts.
        kept: Action,
        /// The action that does not.
        dropped: Action,
    },
    /// Two rules with different actions may match the same arguments.
    Overlap {
        /// The call.
        call: Syscall,
        /// The case that counts.
        first: Case,
        /// The case that is then not asked.
        second: Case,
    },
}

/// What turns up while a profile is resolved.
#[derive(Default)]
pub(crate) struct Notes<'a> {
    pub(crate) warnings: Vec<Warning>,
    pub(crate) foreign_architectures: BTreeSet<Arch>,
    pub(crate) absent_names: BTreeMap<Arch, BTreeSet<&'a str>>,
    pub(crate) unknown_names: BTreeSet<&'a str>,
}

/// So many unknown names get a suggestion: a profile of garbage must not cost seconds.
const MAX_SUGGESTIONS: usize = 64;

/// A call with more cases is not searched for overlaps, which compares each with each: a profile of many such calls must
/// not cost seconds either.
const MAX_SEARCHED_CASES: usize = 512;

/// The names of all system calls.
pub(crate) static NAMES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| Arch::all().flat_map(Syscall::all).filter_map(Syscall::name).collect());

impl Notes<'_> {
    pub(crate) fn look_for_overlap(&mut self, call: Syscall, cases: &[Case]) {
        if cases.len() > MAX_SEARCHED_CASES || cases.windows(2).all(|pair| pair[0].action == pair[1].action) {
            return;
        }
        for (i, first) in cases.iter().enumerate() {
            let overlaps = |second: &&Case| second.action != first.action && !first.excludes(second);
            if let Some(second) = cases[i + 1..].iter().find(overlaps) {
                self.warnings.push(Warning::Overlap { call, first: first.clone(), second: second.clone() });
                return;
            }
        }
    }

    pub(crate) fn into_warnings(mut self, native: Arch) -> Vec<Warning> {
        let foreign = self.foreign_architectures.into_iter();
        self.warnings.extend(foreign.map(|arch| Warning::ForeignArchitecture { arch, native }));
        self.warnings.extend(self.absent_names.into_iter().map(|(arch, names)| Warning::NotOnArchitecture {
            arch,
            names: names.into_iter().map(str::to_owned).collect(),
        }));
        let unknown = self.unknown_names.into_iter().enumerate();
        self.warnings.extend(unknown.map(|(i, name)| Warning::UnknownName {
            name: name.to_owned(),
            near: (i < MAX_SUGGESTIONS).then(|| nearest(name, NAMES.iter().copied())).flatten(),
        }));
        self.warnings
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownName { name, near: Some(near) } => {
                write!(f, "no system call is named `{name}`, did you mean `{near}`?")
            }
            Warning::UnknownName { name, near: None } => write!(f, "no system call is named `{name}`"),
            Warning::NotOnArchitecture { arch, names } => write!(f, "not on {arch}: {}", names.join(", ")),
            Warning::ForeignArchitecture { arch, native } => {
                write!(f, "a machine of {native} never runs {arch}: the rules do not count for it")
            }
            Warning::AnyCondition { rule } => write!(
                f,
                "syscalls[{rule}]: one argument is compared twice, so any one of the comparisons is enough, those of other \
                 arguments included"
            ),
            Warning::Shadowed { call, kept, dropped } => write!(
                f,
                "{call} on {}: a rule without conditions makes it {kept}, the rule with {dropped} does nothing",
                call.arch
            ),
            Warning::Overlap { call, first, second } => write!(
                f,
                "{call} on {}: `{first}` comes before `{second}`, and both may match; a runtime may refuse this",
                call.arch
            ),
        }
    }
}
