//! The kernel takes the programs that the check takes, no others, and runs them as the interpreter does.

use crate::kernel::{fadvise, memfd, under};
use proptest::prelude::*;
use seccomp_agent_profile::{Action, ByteOrder, Instruction, Program, ProgramError, SeccompData};
use seccomp_agent_syscall::{Arch, Syscall};
use std::os::fd::AsRawFd;

const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7FFF_0000;
const ERRNO: u32 = 0x0005_0000;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// What `fadvise64` runs through: anything but a return, now and then what the kernel refuses.
fn body() -> impl Strategy<Value = Vec<Instruction>> {
    // The arguments that the test controls, and what is no word of the structure.
    let load = prop::sample::select(vec![0, 4, 16, 20, 24, 28, 32, 36, 40, 44]);
    let bad_load = prop::sample::select(vec![1, 2, 64, 68, u32::MAX]);
    let arithmetic = prop::sample::select(vec![
        0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0xA4,
        0xAC, 0x84, 0x07, 0x87, 0x00, 0x01, 0x80, 0x81,
    ]);
    let jump = prop::sample::select(vec![0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D]);
    let memory = prop::sample::select(vec![0x60, 0x61, 0x02, 0x03]);
    let refused = prop::sample::select(vec![0x28, 0x30, 0x40, 0x48, 0x50, 0x94, 0x9C, 0xB1, 0xFFFF]);
    let k = || prop_oneof![6 => 0..32_u32, 1 => any::<u32>()];
    let any_instruction = prop_oneof![
        20 => load.prop_map(|k| instruction(0x20, 0, 0, k)),
        40 => (arithmetic, k()).prop_map(|(code, k)| instruction(code, 0, 0, k)),
        10 => (jump, 0..4_u8, 0..4_u8, k()).prop_map(|(code, jt, jf, k)| instruction(code, jt, jf, k)),
        2 => (0..6_u32).prop_map(|k| instruction(0x05, 0, 0, k)),
        20 => (memory, 0..4_u32).prop_map(|(code, k)| instruction(code, 0, 0, k)),
        1 => bad_load.prop_map(|k| instruction(0x20, 0, 0, k)),
        1 => (refused, k()).prop_map(|(code, k)| instruction(code, 0, 0, k)),
        1 => prop::sample::select(vec![15, 16, 17]).prop_map(|k| instruction(0x02, 0, 0, k)),
    ];
    // All cells are written first in most programs, or few would pass.
    let store = prop::bool::weighted(0.8).prop_map(|all| if all { 4 } else { 0 });
    (store, prop::collection::vec(any_instruction, 0..40))
        .prop_map(|(cells, body)| (0..cells).map(|cell| instruction(0x02, 0, 0, cell)).chain(body).collect())
}

fn around(body: Vec<Instruction>, fadvise: Syscall) -> Vec<Instruction> {
    let skip = u8::try_from(body.len() + 3).unwrap();
    let head = [instruction(0x20, 0, 0, 0), instruction(0x15, 0, skip, fadvise.number)];
    let tail = [
        instruction(0x54, 0, 0, 0x7FF),
        instruction(0x44, 0, 0, ERRNO),
        instruction(0x16, 0, 0, 0),
        instruction(RETURN, 0, 0, ALLOW),
    ];
    head.into_iter().chain(body).chain(tail).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_kernel_refuses_and_runs_what_the_interpreter_does(body in body(), offset in any::<u64>(), length in any::<u64>()) {
        let call = Syscall::named(Arch::X86_64, "fadvise64").unwrap();
        let instructions = around(body, call);
        let file = memfd();
        let Ok(filter) = Program::new(instructions.clone(), ByteOrder::Little) else {
            let raw: Vec<_> = instructions
                .iter()
                .map(|i| seccompiler::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
                .collect();
            let loaded = std::thread::scope(|scope| scope.spawn(|| seccompiler::apply_filter(&raw)).join().unwrap());
            prop_assert!(loaded.is_err(), "the kernel takes {:?}", instructions);
            return Ok(());
        };
        let data = SeccompData::new(call, [u64::try_from(file.as_raw_fd()).unwrap(), offset, length, 0, 0, 0]);
        // A division by 0 kills, which the next test is for.
        if let Action::Errno(expected) = filter.run(&data) {
            let errno = under(&filter, || fadvise(&file, offset, length));
            prop_assert_eq!(errno, i32::from(expected), "\n{}", filter);
        }
    }
}

#[test]
fn a_division_by_zero_kills_the_thread() {
    let body = [instruction(0x01, 0, 0, 0), instruction(0x3C, 0, 0, 0)];
    let filter =
        Program::new([&body[..], &[instruction(RETURN, 0, 0, ALLOW)]].concat(), ByteOrder::Little).unwrap();
    assert_eq!(filter.run(&SeccompData::default()), Action::KillThread);
}

#[test]
fn each_thing_that_the_kernel_refuses_has_its_error() {
    let end = instruction(RETURN, 0, 0, ALLOW);
    let jump = |skip| instruction(0x05, 0, 0, skip);
    for (instructions, expected) in [
        (vec![], ProgramError::Empty),
        (vec![end; 4097], ProgramError::TooLong { needed: 4097 }),
        (vec![instruction(0x94, 0, 0, 1), end], ProgramError::UnknownOperation { at: 0, code: 0x94 }),
        (vec![instruction(0x20, 0, 0, 64), end], ProgramError::Offset { at: 0, offset: 64 }),
        (vec![instruction(0x20, 0, 0, 6), end], ProgramError::Offset { at: 0, offset: 6 }),
        (vec![end, jump(1), end], ProgramError::Jump { at: 1 }),
        (vec![instruction(0x15, 0, 1, 0), end], ProgramError::Jump { at: 0 }),
        (vec![jump(u32::MAX), end], ProgramError::Jump { at: 0 }),
        (vec![instruction(0x34, 0, 0, 0), end], ProgramError::Operand { at: 0, operand: 0 }),
        (vec![instruction(0x64, 0, 0, 32), end], ProgramError::Operand { at: 0, operand: 32 }),
        (vec![instruction(0x02, 0, 0, 16), end], ProgramError::Memory { at: 0, cell: 16 }),
        (vec![instruction(0x60, 0, 0, 3), end], ProgramError::Memory { at: 0, cell: 3 }),
        (vec![end, instruction(0x00, 0, 0, 0)], ProgramError::NoReturn),
    ] {
        assert_eq!(Program::new(instructions, ByteOrder::Little).unwrap_err(), expected);
    }
}
