use crate::action::Action;
use crate::condition::{Comparison, Condition};
use crate::multiplex::multiplexer;
use crate::normal::{Case, Decision, NormalForm, Table};
use crate::profile::{Profile, Rule};
use crate::warning::{NAMES, Notes, Warning};
use seccomp_agent_syscall::{Arch, Syscall};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What a profile means on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The meaning.
    pub normal_form: NormalForm,
    /// What its author probably did not mean.
    pub warnings: Vec<Warning>,
}

impl Profile {
    /// What the profile means on a machine of architecture `native`.
    ///
    /// The meaning is the one that runc and libseccomp give it:
    ///
    /// - The architectures are the machine's own and those listed; those that the machine does not run do not count. A
    ///   call of any other kills its thread (`SCMP_FLTATR_ACT_BADARCH`).
    /// - A rule whose action is the default action is left out (runc, `matchCall`), also as an exception from another
    ///   rule.
    /// - A name that an architecture does not have means nothing there; on architectures with `socketcall` and `ipc`, the
    ///   calls that these multiplex are decided there as well (libseccomp, `abi_rule_add`).
    /// - The conditions of a rule all have to match. If two are of the same argument, each of the rule's conditions is a
    ///   rule of its own (runc, `matchCall`).
    /// - A rule without conditions beats those with conditions, and the first such rule all later ones (libseccomp,
    ///   `db_rule_add`). A condition with a mask of no bits is no condition.
    /// - Of several conditional rules that match, the one that libseccomp's tree tests first counts (`_db_chain_lt`): the
    ///   one on the higher argument; then equality and masks before upper bounds before lower bounds; then the tighter
    ///   bound, or the greater value; then the one with fewer conditions. Where their actions differ, there is a warning,
    ///   since libseccomp refuses some such profiles.
    /// - On architectures of 32 bits, only the lower half of arguments and values is compared.
    pub fn resolve(&self, native: Arch) -> Resolution {
        let mut notes = Notes::default();
        let mut drafts: BTreeMap<Arch, Draft> = BTreeMap::from([(native, Draft::default())]);
        for &arch in &self.architectures {
            if native.family().contains(&arch) {
                drafts.entry(arch).or_default();
            } else {
                notes.foreign_architectures.insert(arch);
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let alternatives = alternatives(rule);
            if alternatives.len() > 1 && tests_several_arguments(rule) {
                notes.warnings.push(Warning::AnyCondition { rule: index });
            }
            for name in &rule.names {
                if !NAMES.contains(name.as_str()) {
                    notes.unknown_names.insert(name);
                    continue;
                }
                for (&arch, draft) in &mut drafts {
                    if !draft.add(arch, name, rule.action, self.default_action, &alternatives) {
                        notes.absent_names.entry(arch).or_default().insert(name);
                    }
                }
            }
        }
        let tables = drafts
            .into_iter()
            .map(|(arch, draft)| (arch, draft.finish(arch, self.default_action, &mut notes)))
            .collect();
        let normal_form =
            NormalForm { native, default_action: self.default_action, tables, unknown_is_enosys: false };
        Resolution { normal_form, warnings: notes.into_warnings(native) }
    }
}

/// The rules of one architecture while they are collected.
#[derive(Default)]
struct Draft {
    calls: BTreeMap<u32, CallDraft>,
    last: Option<u32>,
}

#[derive(Default)]
struct CallDraft {
    unconditional: Option<Action>,
    cases: BTreeSet<Case>,
    /// Those of `cases` in the author's order.
    order: Vec<Case>,
    shadowed: Option<Action>,
}

impl Draft {
    /// Adds the rule for one name; `false` when this architecture has no such call.
    fn add(
        &mut self,
        arch: Arch,
        name: &str,
        action: Action,
        default: Action,
        alternatives: &[Vec<Condition>],
    ) -> bool {
        let direct = Syscall::named(arch, name);
        let multiplexed = multiplexer(arch, name);
        // libseccomp shows runc a multiplexed call by a pseudo number below 0, even where it has its own.
        if let (Some(call), None) = (direct, multiplexed) {
            self.last = self.last.max(Some(call.number));
        }
        if action != default {
            for conditions in alternatives {
                if let Some(call) = direct {
                    self.add_case(arch, call.number, conditions.clone(), action);
                }
                if let Some((multiplexer, which)) = multiplexed
                    && let Some(call) = Syscall::named(arch, multiplexer)
                    && let Some(chosen) = Condition::new(0, Comparison::Equal(which))
                {
                    let others = conditions.iter().copied().filter(|condition| condition.argument() != 0);
                    self.add_case(arch, call.number, others.chain([chosen]).collect(), action);
                }
            }
        }
        direct.is_some() || multiplexed.is_some()
    }

    fn add_case(&mut self, arch: Arch, number: u32, mut conditions: Vec<Condition>, action: Action) {
        for condition in &mut conditions {
            let comparison = condition.comparison();
            let seen = if arch.is_32_bit() { comparison.narrowed() } else { comparison };
            *condition = condition.with_comparison(seen.canonical());
        }
        conditions.retain(|condition| !condition.comparison().is_empty_mask());
        conditions.sort_unstable();
        self.calls.entry(number).or_default().add(Case { conditions, action });
    }

    fn finish(self, arch: Arch, default: Action, notes: &mut Notes) -> Table {
        let calls = self.calls.into_iter().map(|(number, draft)| {
            let call = Syscall::new(arch, number);
            let otherwise = draft.unconditional.unwrap_or(default);
            if let Some(shadowed) = draft.shadowed {
                notes.warnings.push(Warning::Shadowed { call, kept: otherwise, dropped: shadowed });
            }
            let mut cases = draft.order;
            cases.sort_by(tree_order);
            notes.look_for_overlap(call, &cases);
            (number, Decision { cases, otherwise })
        });
        Table { calls: calls.collect(), last: self.last }
    }
}

impl CallDraft {
    fn add(&mut self, case: Case) {
        if let Some(kept) = self.unconditional {
            if kept != case.action {
                self.shadowed = Some(case.action);
            }
        } else if case.conditions.is_empty() {
            self.shadowed = self.order.iter().map(|old| old.action).find(|action| *action != case.action);
            self.unconditional = Some(case.action);
            self.order.clear();
            self.cases.clear();
        } else if self.cases.insert(case.clone()) {
            self.order.push(case);
        }
    }
}

/// The sets of conditions of which one has to match as a whole.
fn alternatives(rule: &Rule) -> Vec<Vec<Condition>> {
    let arguments: BTreeSet<u8> = rule.conditions.iter().map(|condition| condition.argument()).collect();
    if arguments.len() == rule.conditions.len() {
        vec![rule.conditions.clone()]
    } else {
        rule.conditions.iter().map(|condition| vec![*condition]).collect()
    }
}

fn tests_several_arguments(rule: &Rule) -> bool {
    rule.conditions.windows(2).any(|pair| pair[0].argument() != pair[1].argument())
}

/// The order in which libseccomp's tree tests cases.
fn tree_order(a: &Case, b: &Case) -> Ordering {
    let mut differing = a.conditions.iter().zip(&b.conditions).map(|(a, b)| {
        (b.argument().cmp(&a.argument())).then_with(|| comparison_order(a.comparison(), b.comparison()))
    });
    differing.find(|order| order.is_ne()).unwrap_or_else(|| a.conditions.len().cmp(&b.conditions.len()))
}

fn comparison_order(a: Comparison, b: Comparison) -> Ordering {
    let rank = |comparison| match comparison {
        Comparison::Equal(value) | Comparison::NotEqual(value) | Comparison::MaskedEqual { value, .. } => {
            (0, !value)
        }
        Comparison::LessOrEqual(value) | Comparison::Less(value) => (1, value),
        Comparison::GreaterOrEqual(value) | Comparison::Greater(value) => (2, !value),
    };
    rank(a).cmp(&rank(b))
}
