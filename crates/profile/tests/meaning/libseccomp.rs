//! The normal form is what libseccomp makes of a profile when runc drives it: `fixtures/libseccomp.jsonl` has filters
//! that `fixtures/libseccomp.py` got from libseccomp 2.5.4.

use crate::strategy::calls;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use seccomp_agent_profile::{ByteOrder, Instruction, Profile, Program, Resolution, Warning};
use seccomp_agent_syscall::Arch;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    profile: Profile,
    filter: Option<String>,
    refused: Option<String>,
}

/// Lines in which libseccomp is wrong: for an i386 call it goes on in the middle of a comparison, for which something else
/// than the number would have to be loaded.
const WRONG: &[usize] = &[61];

#[test]
fn libseccomp_makes_the_same_of_a_profile() {
    let mut runner = TestRunner::deterministic();
    for (line, case) in include_str!("../fixtures/libseccomp.jsonl").lines().enumerate() {
        let Case { profile, filter, refused } = serde_json::from_str(case).unwrap();
        let Resolution { normal_form, warnings } = profile.resolve(Arch::X86_64);
        let Some(filter) = filter else {
            let overlaps = warnings.iter().any(|warning| matches!(warning, Warning::Overlap { .. }));
            assert!(overlaps, "line {line}: libseccomp says {refused:?} without a warning from us\n{case}");
            continue;
        };
        let theirs = program(&filter);
        let differs = (0..4).any(|_| {
            let calls = calls(&profile).new_tree(&mut runner).unwrap().current();
            calls.iter().any(|data| theirs.run(data) != normal_form.action_for_data(data))
        });
        assert!(!differs || WRONG.contains(&line), "line {line}: {normal_form}\n{theirs}\n{case}");
    }
}

fn program(hex: &str) -> Program {
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let instructions = bytes.chunks_exact(8).map(|bytes| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    });
    Program::new(instructions.collect(), ByteOrder::Little).unwrap()
}
