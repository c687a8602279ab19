use crate::data::{ByteOrder, SIZE};
use crate::instruction::{Arithmetic, Instruction, Operand, Operation};
use std::fmt;

/// A filter that the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    byte_order: ByteOrder,
}

/// Why the kernel would not take a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// A program without an instruction.
    #[error("a filter has at least one instruction")]
    Empty,
    /// More than `BPF_MAXINSNS`.
    #[error(
        "the filter needs {needed} instructions and the kernel takes {MAX_INSTRUCTIONS}: name fewer arguments"
    )]
    TooLong {
        /// How many it has.
        needed: usize,
    },
    /// An instruction that seccomp does not have.
    #[error("instruction {at}: seccomp has no operation {code:#06x}")]
    UnknownOperation {
        /// Its index.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A load from outside `struct seccomp_data`, or not of a whole word.
    #[error("instruction {at}: no word of seccomp_data is at {offset}")]
    Offset {
        /// Its index.
        at: usize,
        /// What it loads, in bytes.
        offset: u32,
    },
    /// A jump behind the end.
    #[error("instruction {at}: jumps out of the filter")]
    Jump {
        /// Its index.
        at: usize,
    },
    /// Division by 0, or a shift by 32 and more.
    #[error("instruction {at}: cannot divide or shift by {operand}")]
    Operand {
        /// Its index.
        at: usize,
        /// The constant.
        operand: u32,
    },
    /// Scratch memory that does not exist, or that may not have been written yet.
    #[error("instruction {at}: scratch memory {cell} does not exist or was not written")]
    Memory {
        /// Its index.
        at: usize,
        /// The cell.
        cell: u32,
    },
    /// The last instruction does not return.
    #[error("the last instruction does not return")]
    NoReturn,
}

/// `BPF_MAXINSNS` of `linux/bpf_common.h`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `BPF_MEMWORDS` of `linux/filter.h`.
pub(crate) const MEMORY_CELLS: usize = 16;

impl Program {
    /// Checks the instructions as the kernel does (`bpf_check_classic` in `net/core/filter.c` and
    /// `seccomp_check_filter` in `kernel/seccomp.c`), for a kernel of this byte order.
    pub fn new(instructions: Vec<Instruction>, byte_order: ByteOrder) -> Result<Self, ProgramError> {
        match instructions.len() {
            0 => return Err(ProgramError::Empty),
            needed if needed > MAX_INSTRUCTIONS => return Err(ProgramError::TooLong { needed }),
            _ => {}
        }
        for (at, instruction) in instructions.iter().enumerate() {
            check(at, *instruction, instructions.len())?;
        }
        match instructions.last().and_then(|last| last.operation()) {
            Some(Operation::Return | Operation::ReturnA) => {}
            _ => return Err(ProgramError::NoReturn),
        }
        check_memory(&instructions)?;
        Ok(Self { instructions, byte_order })
    }

    /// The instructions, at least one and at most [`MAX_INSTRUCTIONS`].
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The byte order of the kernel that it is for.
    pub fn byte_order(&self) -> ByteOrder {
        self.byte_order
    }
}

fn check(at: usize, instruction: Instruction, length: usize) -> Result<(), ProgramError> {
    let Instruction { code, jt, jf, k } = instruction;
    // Of what follows, an instruction at `at` can skip so many.
    let skippable = length - at - 1;
    let lands = |skip: u32| usize::try_from(skip).is_ok_and(|skip| skip < skippable);
    match instruction.operation() {
        None => Err(ProgramError::UnknownOperation { at, code }),
        Some(Operation::LoadData) if k >= SIZE || k % 4 != 0 => Err(ProgramError::Offset { at, offset: k }),
        Some(Operation::Arithmetic(Arithmetic::Divide, Operand::K)) if k == 0 => {
            Err(ProgramError::Operand { at, operand: k })
        }
        Some(Operation::Arithmetic(Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::K))
            if k >= 32 =>
        {
            Err(ProgramError::Operand { at, operand: k })
        }
        Some(Operation::LoadMemory | Operation::LoadMemoryX | Operation::Store | Operation::StoreX)
            if cell(k).is_none() =>
        {
            Err(ProgramError::Memory { at, cell: k })
        }
        Some(Operation::Jump) if !lands(k) => Err(ProgramError::Jump { at }),
        Some(Operation::JumpIf(..)) if !lands(jt.into()) || !lands(jf.into()) => {
            Err(ProgramError::Jump { at })
        }
        Some(_) => Ok(()),
    }
}

/// Every cell that is read has been written on each way there (`check_load_and_stores` in `net/core/filter.c`).
fn check_memory(instructions: &[Instruction]) -> Result<(), ProgramError> {
    const ALL: u16 = u16::MAX;
    // For each instruction, the cells that all jumps to it have written.
    let mut written_at = vec![ALL; instructions.len() + 1];
    let mut written = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        written &= written_at[at];
        let bit = |k| cell(k).map_or(0, |cell| 1 << cell);
        let mut jump = |skip: usize, written: u16| {
            if let Some(target) = written_at.get_mut(at + 1 + skip) {
                *target &= written;
            }
        };
        match instruction.operation() {
            Some(Operation::Store | Operation::StoreX) => written |= bit(instruction.k),
            Some(Operation::LoadMemory | Operation::LoadMemoryX) if written & bit(instruction.k) == 0 => {
                return Err(ProgramError::Memory { at, cell: instruction.k });
            }
            Some(Operation::Jump) => {
                jump(usize::try_from(instruction.k).unwrap_or(usize::MAX - at - 1), written);
                written = ALL;
            }
            Some(Operation::JumpIf(..)) => {
                jump(instruction.jt.into(), written);
                jump(instruction.jf.into(), written);
                written = ALL;
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn cell(k: u32) -> Option<usize> {
    usize::try_from(k).ok().filter(|cell| *cell < MEMORY_CELLS)
}

/// A line for each instruction, with its index.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.instructions.iter().enumerate() {
            writeln!(f, "{at:4}: {instruction}")?;
        }
        Ok(())
    }
}
