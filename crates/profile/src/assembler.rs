use crate::action::Action;
use crate::instruction::{self, Instruction};
use std::collections::HashMap;

/// Writes a program from its last instruction to its first.
///
/// Jumps go forward only, so in this order each jump knows its target. Skips of a test are a byte: a target farther away
/// is reached by a copy, if it returns, else by a long jump, which is placed right behind the test.
#[derive(Default)]
pub(crate) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    returns: HashMap<Action, usize>,
    long_jumps: HashMap<usize, usize>,
}

/// Where a jump goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Return(Action),
    /// An index in `reversed`.
    At(usize),
}

/// A jump to an instruction that is this near, counted from the end of what is written, still fits in a byte after one
/// more instruction is placed between.
const NEAR: usize = 254;

impl Assembler {
    /// Goes to one of two targets by a test of the accumulator.
    pub(crate) fn branch(&mut self, code: u16, k: u32, if_true: Target, if_false: Target) -> Target {
        let (if_true, if_false) = (self.bring_near(if_true), self.bring_near(if_false));
        let (jt, jf) = (self.skip(if_true), self.skip(if_false));
        self.reversed.push(Instruction { code, jt, jf, k });
        Target::At(self.reversed.len() - 1)
    }

    /// Loads a word of `seccomp_data`, and goes on with what was written last.
    pub(crate) fn load(&mut self, offset: u32) -> Target {
        Target::At(self.push(instruction::LOAD_DATA, offset))
    }

    /// Masks the accumulator, and goes on with what was written last.
    pub(crate) fn and(&mut self, mask: u32) -> Target {
        Target::At(self.push(instruction::AND, mask))
    }

    /// The program that begins with what was written last.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    fn bring_near(&mut self, target: Target) -> usize {
        let near = |at: &usize| self.reversed.len() - at <= NEAR;
        match target {
            Target::Return(action) => {
                if let Some(at) = self.returns.get(&action).copied().filter(near) {
                    return at;
                }
                let at = self.push(instruction::RETURN, action.to_return_value());
                self.returns.insert(action, at);
                at
            }
            Target::At(at) if near(&at) => at,
            Target::At(far) => {
                if let Some(at) = self.long_jumps.get(&far).copied().filter(near) {
                    return at;
                }
                // A program that is too long for `u32` is refused for its length.
                let distance = u32::try_from(self.reversed.len() - far - 1).unwrap_or(u32::MAX);
                let at = self.push(instruction::JUMP, distance);
                self.long_jumps.insert(far, at);
                at
            }
        }
    }

    #[expect(clippy::expect_used, reason = "a jump to somewhere else would be a hole in the filter")]
    fn skip(&self, at: usize) -> u8 {
        u8::try_from(self.reversed.len() - at - 1).expect("bring_near keeps skips within a byte")
    }

    fn push(&mut self, code: u16, k: u32) -> usize {
        self.reversed.push(Instruction { code, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }
}
