use crate::action::Action;
use crate::data::{SIZE, SeccompData};
use crate::instruction::{Arithmetic, Operand, Operation, Test};
use crate::program::{MEMORY_CELLS, Program, cell};

impl Program {
    /// What the kernel does with this call under this filter alone.
    pub fn run(&self, data: &SeccompData) -> Action {
        Action::from_return_value(self.return_value(data))
    }

    /// What the filter returns, as the kernel runs it. Since jumps go forward only, it takes at most as many steps as
    /// there are instructions.
    pub fn return_value(&self, data: &SeccompData) -> u32 {
        let mut machine = Machine::default();
        let mut at = 0;
        while let Some(instruction) = self.instructions().get(at) {
            let k = instruction.k;
            let mut skip = 0;
            match instruction.operation() {
                Some(Operation::LoadData) => machine.a = data.word(k, self.byte_order()).unwrap_or_default(),
                Some(Operation::LoadLength) => machine.a = SIZE,
                Some(Operation::LoadLengthX) => machine.x = SIZE,
                Some(Operation::LoadImmediate) => machine.a = k,
                Some(Operation::LoadImmediateX) => machine.x = k,
                Some(Operation::LoadMemory) => machine.a = machine.cell(k),
                Some(Operation::LoadMemoryX) => machine.x = machine.cell(k),
                Some(Operation::Store) => machine.store(k, machine.a),
                Some(Operation::StoreX) => machine.store(k, machine.x),
                Some(Operation::Arithmetic(arithmetic, operand)) => {
                    match machine.calculate(arithmetic, machine.operand(operand, k)) {
                        Some(result) => machine.a = result,
                        None => return 0,
                    }
                }
                Some(Operation::Negate) => machine.a = machine.a.wrapping_neg(),
                Some(Operation::ToX) => machine.x = machine.a,
                Some(Operation::FromX) => machine.a = machine.x,
                Some(Operation::Jump) => skip = usize::try_from(k).unwrap_or(usize::MAX),
                Some(Operation::JumpIf(test, operand)) => {
                    let passes = machine.test(test, machine.operand(operand, k));
                    skip = usize::from(if passes { instruction.jt } else { instruction.jf });
                }
                Some(Operation::Return) => return k,
                Some(Operation::ReturnA) => return machine.a,
                None => break,
            }
            at = at.saturating_add(1).saturating_add(skip);
        }
        // Not reached: a checked program ends with a return. 0 kills, as the kernel's own way out does.
        0
    }
}

#[derive(Default)]
struct Machine {
    a: u32,
    x: u32,
    memory: [u32; MEMORY_CELLS],
}

impl Machine {
    fn operand(&self, operand: Operand, k: u32) -> u32 {
        match operand {
            Operand::K => k,
            Operand::X => self.x,
        }
    }

    /// `None` for a division by 0, which ends the filter with 0 (`bpf_convert_filter` in `net/core/filter.c`).
    fn calculate(&self, arithmetic: Arithmetic, operand: u32) -> Option<u32> {
        Some(match arithmetic {
            Arithmetic::Add => self.a.wrapping_add(operand),
            Arithmetic::Subtract => self.a.wrapping_sub(operand),
            Arithmetic::Multiply => self.a.wrapping_mul(operand),
            Arithmetic::Divide => return self.a.checked_div(operand),
            Arithmetic::Or => self.a | operand,
            Arithmetic::And => self.a & operand,
            Arithmetic::ShiftLeft => self.a.wrapping_shl(operand),
            Arithmetic::ShiftRight => self.a.wrapping_shr(operand),
            Arithmetic::Xor => self.a ^ operand,
        })
    }

    fn test(&self, test: Test, operand: u32) -> bool {
        match test {
            Test::Equal => self.a == operand,
            Test::Greater => self.a > operand,
            Test::GreaterOrEqual => self.a >= operand,
            Test::AnyBit => self.a & operand != 0,
        }
    }

    fn cell(&self, k: u32) -> u32 {
        cell(k).map_or(0, |cell| self.memory[cell])
    }

    fn store(&mut self, k: u32, value: u32) {
        if let Some(cell) = cell(k) {
            self.memory[cell] = value;
        }
    }
}
