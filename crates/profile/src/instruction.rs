use std::fmt;

/// An instruction of classic BPF: `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip when a test is true.
    pub jt: u8,
    /// Instructions to skip when a test is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The instructions that seccomp takes (`seccomp_check_filter` in `kernel/seccomp.c`), by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    LoadData,
    LoadLength,
    LoadLengthX,
    LoadImmediate,
    LoadImmediateX,
    LoadMemory,
    LoadMemoryX,
    Store,
    StoreX,
    Arithmetic(Arithmetic, Operand),
    Negate,
    ToX,
    FromX,
    Jump,
    JumpIf(Test, Operand),
    Return,
    ReturnA,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    K,
    X,
}

pub(crate) const LOAD_DATA: u16 = 0x20;
pub(crate) const AND: u16 = 0x54;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_IF_EQUAL: u16 = 0x15;
pub(crate) const JUMP_IF_GREATER: u16 = 0x25;
pub(crate) const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

impl Instruction {
    /// What the code means; `None` for those that seccomp refuses.
    pub(crate) fn operation(self) -> Option<Operation> {
        use Operation as Op;
        /// `BPF_X`: the operand is the index register.
        const X: u16 = 0x08;
        let operand = if self.code & X == 0 { Operand::K } else { Operand::X };
        Some(match self.code {
            LOAD_DATA => Op::LoadData,
            0x80 => Op::LoadLength,
            0x81 => Op::LoadLengthX,
            0x00 => Op::LoadImmediate,
            0x01 => Op::LoadImmediateX,
            0x60 => Op::LoadMemory,
            0x61 => Op::LoadMemoryX,
            0x02 => Op::Store,
            0x03 => Op::StoreX,
            0x04 | 0x0C => Op::Arithmetic(Arithmetic::Add, operand),
            0x14 | 0x1C => Op::Arithmetic(Arithmetic::Subtract, operand),
            0x24 | 0x2C => Op::Arithmetic(Arithmetic::Multiply, operand),
            0x34 | 0x3C => Op::Arithmetic(Arithmetic::Divide, operand),
            0x44 | 0x4C => Op::Arithmetic(Arithmetic::Or, operand),
            AND | 0x5C => Op::Arithmetic(Arithmetic::And, operand),
            0x64 | 0x6C => Op::Arithmetic(Arithmetic::ShiftLeft, operand),
            0x74 | 0x7C => Op::Arithmetic(Arithmetic::ShiftRight, operand),
            0xA4 | 0xAC => Op::Arithmetic(Arithmetic::Xor, operand),
            0x84 => Op::Negate,
            0x07 => Op::ToX,
            0x87 => Op::FromX,
            JUMP => Op::Jump,
            JUMP_IF_EQUAL | 0x1D => Op::JumpIf(Test::Equal, operand),
            JUMP_IF_GREATER | 0x2D => Op::JumpIf(Test::Greater, operand),
            JUMP_IF_GREATER_OR_EQUAL | 0x3D => Op::JumpIf(Test::GreaterOrEqual, operand),
            0x45 | 0x4D => Op::JumpIf(Test::AnyBit, operand),
            RETURN => Op::Return,
            0x16 => Op::ReturnA,
            _ => return None,
        })
    }
}

/// As the kernel's `bpf_asm` writes it, jumps relative to the next instruction.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, jt, jf, k } = *self;
        match self.operation() {
            Some(Operation::LoadData) => write!(f, "ld [{k}]"),
            Some(Operation::Jump) => write!(f, "ja +{k}"),
            Some(Operation::JumpIf(test, operand)) => {
                let name = match test {
                    Test::Equal => "jeq",
                    Test::Greater => "jgt",
                    Test::GreaterOrEqual => "jge",
                    Test::AnyBit => "jset",
                };
                match operand {
                    Operand::K => write!(f, "{name} #{k:#x}, +{jt}, +{jf}"),
                    Operand::X => write!(f, "{name} x, +{jt}, +{jf}"),
                }
            }
            Some(Operation::Arithmetic(Arithmetic::And, Operand::K)) => write!(f, "and #{k:#x}"),
            Some(Operation::Return) => write!(f, "ret #{k:#x}"),
            Some(Operation::ReturnA) => f.write_str("ret a"),
            _ => write!(f, "{code:#06x} #{k:#x}"),
        }
    }
}
