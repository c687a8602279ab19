use crate::assembler::{Assembler, Target};
use crate::condition::{Comparison, Condition};
use crate::data::{self, ByteOrder, split};
use crate::instruction::{JUMP_IF_EQUAL, JUMP_IF_GREATER, JUMP_IF_GREATER_OR_EQUAL};
use crate::normal::{Decision, FOREIGN, NormalForm, X32_BIT};
use crate::program::{Program, ProgramError};
use seccomp_agent_syscall::{Arch, Syscall};
use std::collections::{BTreeSet, HashMap};

/// Compiles the meaning of a profile to a filter for the machine that it is for.
///
/// The filter tells the architecture, then searches the number in a balanced tree of ranges that share a decision, then
/// compares arguments, the upper half first.
pub fn compile(form: &NormalForm) -> Result<Program, ProgramError> {
    let mut compiler = Compiler {
        assembler: Assembler::default(),
        byte_order: ByteOrder::of(form.native()),
        decisions: HashMap::new(),
    };
    let native = form.native().audit_token();
    let others: BTreeSet<u32> =
        form.architectures().map(Arch::audit_token).filter(|token| *token != native).collect();
    // Written last, so that it is asked first.
    let tokens = others.into_iter().chain([native]);
    let mut next = Target::Return(FOREIGN);
    for token in tokens {
        let search = compiler.search(form, token);
        next = compiler.assembler.branch(JUMP_IF_EQUAL, token, search, next);
    }
    compiler.assembler.load(data::AUDIT_ARCH);
    Program::new(compiler.assembler.finish(), compiler.byte_order)
}

struct Compiler {
    assembler: Assembler,
    byte_order: ByteOrder,
    /// Where each decision on arguments is written; whether arguments have 32 bits tells two that look the same apart.
    decisions: HashMap<(Decision, bool), Target>,
}

/// Numbers from `first` to the next range have this decision.
struct Range {
    first: u32,
    decision: Decision,
    is_32_bit: bool,
}

impl Compiler {
    fn search(&mut self, form: &NormalForm, token: u32) -> Target {
        match self.tree(&ranges(form, token)) {
            Target::At(_) => self.assembler.load(data::NUMBER),
            same_for_all @ Target::Return(_) => same_for_all,
        }
    }

    fn tree(&mut self, ranges: &[Range]) -> Target {
        match ranges {
            [] => Target::Return(FOREIGN),
            [range] => self.decide(range),
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let if_upper = self.tree(upper);
                let if_lower = self.tree(lower);
                self.assembler.branch(JUMP_IF_GREATER_OR_EQUAL, upper[0].first, if_upper, if_lower)
            }
        }
    }

    fn decide(&mut self, range: &Range) -> Target {
        let Range { decision, is_32_bit, .. } = range;
        if decision.cases.is_empty() {
            return Target::Return(decision.otherwise);
        }
        let key = (decision.clone(), *is_32_bit);
        if let Some(target) = self.decisions.get(&key) {
            return *target;
        }
        let mut next = Target::Return(decision.otherwise);
        for case in decision.cases.iter().rev() {
            let mut hit = Target::Return(case.action);
            for condition in case.conditions.iter().rev() {
                hit = self.compare(*condition, *is_32_bit, hit, next);
            }
            next = hit;
        }
        self.decisions.insert(key, next);
        next
    }

    fn compare(&mut self, condition: Condition, is_32_bit: bool, hit: Target, miss: Target) -> Target {
        let (low, high) = self.byte_order.halves(condition.argument());
        let words = Words { low, high: (!is_32_bit).then_some(high) };
        match condition.comparison() {
            Comparison::Equal(value) => self.equal(words, u64::MAX, value, hit, miss),
            Comparison::NotEqual(value) => self.equal(words, u64::MAX, value, miss, hit),
            Comparison::MaskedEqual { mask, value } => self.equal(words, mask, value, hit, miss),
            Comparison::Greater(value) => self.above(words, JUMP_IF_GREATER, value, hit, miss),
            Comparison::LessOrEqual(value) => self.above(words, JUMP_IF_GREATER, value, miss, hit),
            Comparison::GreaterOrEqual(value) => {
                self.above(words, JUMP_IF_GREATER_OR_EQUAL, value, hit, miss)
            }
            Comparison::Less(value) => self.above(words, JUMP_IF_GREATER_OR_EQUAL, value, miss, hit),
        }
    }

    fn equal(&mut self, words: Words, mask: u64, value: u64, hit: Target, miss: Target) -> Target {
        let ((mask_low, mask_high), (value_low, value_high)) = (split(mask), split(value));
        let mut next = hit;
        for (offset, mask, value) in
            [(Some(words.low), mask_low, value_low), (words.high, mask_high, value_high)]
        {
            if let Some(offset) = offset
                && mask != 0
            {
                self.assembler.branch(JUMP_IF_EQUAL, value & mask, next, miss);
                if mask != u32::MAX {
                    self.assembler.and(mask);
                }
                next = self.assembler.load(offset);
            }
        }
        next
    }

    /// `code` compares the lower halves when the upper ones are equal.
    fn above(&mut self, words: Words, code: u16, value: u64, hit: Target, miss: Target) -> Target {
        let (low, high) = split(value);
        self.assembler.branch(code, low, hit, miss);
        let lower = self.assembler.load(words.low);
        let Some(offset) = words.high else { return lower };
        let not_greater = self.assembler.branch(JUMP_IF_EQUAL, high, lower, miss);
        self.assembler.branch(JUMP_IF_GREATER, high, hit, not_greater);
        self.assembler.load(offset)
    }
}

/// Where the halves of an argument lie; of one with 32 bits, only the lower is looked at.
#[derive(Clone, Copy)]
struct Words {
    low: u32,
    high: Option<u32>,
}

/// The numbers of all calls with this token, in ranges of the same decision.
fn ranges(form: &NormalForm, token: u32) -> Vec<Range> {
    // Where libseccomp, or the bit that tells x32, may decide otherwise than one number before.
    let mut starts = BTreeSet::from([0, 1, X32_BIT, 2 * X32_BIT, 3 * X32_BIT, u32::MAX]);
    for table in form.tables.iter().filter(|(arch, _)| arch.audit_token() == token).map(|(_, table)| table) {
        let numbers = table.calls.keys().copied();
        starts.extend(numbers.clone());
        starts.extend(numbers.chain(table.last).filter_map(|number| number.checked_add(1)));
    }
    let mut ranges: Vec<Range> = Vec::new();
    for first in starts {
        let call = Syscall::decode(token, first);
        let decision = form.decision(call);
        let range = Range { first, is_32_bit: !decision.cases.is_empty() && call.arch.is_32_bit(), decision };
        let continues = ranges
            .last()
            .is_some_and(|last| last.decision == range.decision && last.is_32_bit == range.is_32_bit);
        if !continues {
            ranges.push(range);
        }
    }
    ranges
}
