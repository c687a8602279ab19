//! `fixtures/default-moby-amd64.json` is what Docker makes of its default profile (moby/profiles `seccomp/default.json`,
//! June 2026) on `x86_64` for a container with Docker's 14 capabilities.

use seccomp_agent_profile::{Action, Instruction, NormalForm, Profile, SeccompData, compile};
use seccomp_agent_syscall::{Arch, Syscall};

pub(crate) fn meaning() -> NormalForm {
    let profile = Profile::from_json(include_bytes!("../fixtures/default-moby-amd64.json")).unwrap();
    profile.resolve(Arch::X86_64).normal_form
}

#[test]
fn it_allows_what_docker_allows() {
    let form = meaning();
    let decisions: Vec<_> = form.decisions().filter(|(call, _)| call.arch == Arch::X86_64).collect();
    let allowed = decisions.iter().filter(|(_, decision)| decision.otherwise == Action::Allow).count();
    let by_argument = decisions.iter().filter(|(_, decision)| !decision.cases.is_empty()).count();
    assert_eq!((allowed, by_argument), (306, 3));
    for (name, arguments, expected) in [
        ("mkdir", [0; 6], Action::Allow),
        ("mount", [0; 6], Action::Errno(1)),
        ("clone3", [0; 6], Action::Errno(38)),
        ("clone", [0x1100_0000, 0, 0, 0, 0, 0], Action::Errno(1)),
        ("clone", [17, 0, 0, 0, 0, 0], Action::Allow),
        ("socket", [40, 0, 0, 0, 0, 0], Action::Errno(1)),
        ("socket", [41, 0, 0, 0, 0, 0], Action::Allow),
    ] {
        let call = Syscall::named(Arch::X86_64, name).unwrap();
        assert_eq!(form.action_for(call, &arguments), expected, "{name} {arguments:?}");
    }
}

#[test]
fn it_compiles_to_a_shallow_tree_far_below_the_limit() {
    let form = meaning();
    let filter = compile(&form).unwrap();
    assert!(filter.instructions().len() < 600, "{}", filter.instructions().len());
    assert!(longest_path(filter.instructions()) < 40, "{}", longest_path(filter.instructions()));
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for call in Syscall::all(arch) {
            for arguments in [[0; 6], [40; 6], [u64::MAX; 6]] {
                let data = SeccompData::new(call, arguments);
                assert_eq!(filter.run(&data), form.action_for_data(&data), "{call} on {arch}");
            }
        }
    }
}

/// The most instructions that a call can cost.
fn longest_path(instructions: &[Instruction]) -> usize {
    let mut longest = vec![0; instructions.len() + 1];
    for (at, instruction) in instructions.iter().enumerate().rev() {
        let beyond = |skip: usize| longest[at + 1 + skip];
        longest[at] = 1 + match instruction.code {
            0x06 => 0,
            0x05 => beyond(usize::try_from(instruction.k).unwrap()),
            code if code & 0x07 == 0x05 => beyond(instruction.jt.into()).max(beyond(instruction.jf.into())),
            _ => beyond(0),
        };
    }
    longest[0]
}
