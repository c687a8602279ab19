//! Random profiles, and calls that are likely to be near what they say.

use proptest::prelude::*;
use seccomp_agent_profile::{Action, Comparison, Condition, Profile, SeccompData};
use seccomp_agent_syscall::{Arch, Syscall};

/// Values at which one half of a comparison, or the carry between the halves, goes wrong.
pub(crate) fn value() -> impl Strategy<Value = u64> {
    let edges =
        vec![0, 1, 2, 3, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX];
    prop_oneof![4 => prop::sample::select(edges), 1 => any::<u64>()]
}

pub(crate) fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        value().prop_map(Comparison::NotEqual),
        value().prop_map(Comparison::Less),
        value().prop_map(Comparison::LessOrEqual),
        value().prop_map(Comparison::Equal),
        value().prop_map(Comparison::GreaterOrEqual),
        value().prop_map(Comparison::Greater),
        (value(), value()).prop_map(|(mask, value)| Comparison::MaskedEqual { mask, value }),
    ]
}

pub(crate) fn condition(arguments: std::ops::Range<u8>) -> impl Strategy<Value = Condition> {
    (arguments, comparison()).prop_map(|(argument, comparison)| Condition::new(argument, comparison).unwrap())
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        (0..4095_u16).prop_map(Action::Errno),
        Just(Action::Notify),
        any::<u16>().prop_map(Action::Trace),
        Just(Action::Log),
        Just(Action::Allow),
    ]
}

fn name() -> impl Strategy<Value = String> {
    let few = [
        "read",
        "socket",
        "semop",
        "socketcall",
        "personality",
        "chown32",
        "setup",
        "no_such_call",
        "execve",
    ];
    let all: Vec<_> = Syscall::all(Arch::X86_64).filter_map(Syscall::name).collect();
    prop_oneof![prop::sample::select(few.to_vec()), prop::sample::select(all)].prop_map(str::to_owned)
}

/// Profiles of up to `rules` rules.
pub(crate) fn profile(rules: usize) -> impl Strategy<Value = Profile> {
    let rule = (prop::collection::vec(name(), 1..8), action(), prop::collection::vec(condition(0..6), 0..4));
    let arches = vec![Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::S390, Arch::Arm, Arch::Mips];
    (action(), prop::sample::subsequence(arches, 0..6), prop::collection::vec(rule, 0..rules)).prop_map(
        |(default, architectures, rules)| {
            rules.into_iter().fold(
                Profile::new(default).architectures(architectures),
                |profile, (names, action, conditions)| profile.rule_when(action, names, conditions),
            )
        },
    )
}

/// Calls that the profile names and their neighbours, with arguments near those that it compares.
pub(crate) fn calls(profile: &Profile) -> impl Strategy<Value = Vec<SeccompData>> + use<> {
    let numbers: Vec<(Arch, u32)> = Arch::all()
        .flat_map(|arch| {
            let names = profile.rules.iter().flat_map(|rule| &rule.names);
            let numbers = names.filter_map(move |name| Syscall::named(arch, name)).map(|call| call.number);
            let edges = [0, 1, 102, 117, 0x3FFF_FFFF, 0x4000_0000, 0x8000_0000, 0xC000_0000, u32::MAX];
            let near = |number: u32| [number.wrapping_sub(1), number, number.wrapping_add(1)];
            numbers.chain(edges).flat_map(near).map(move |number| (arch, number)).collect::<Vec<_>>()
        })
        .collect();
    let values: Vec<u64> = profile
        .rules
        .iter()
        .flat_map(|rule| &rule.conditions)
        .flat_map(|condition| match condition.comparison() {
            Comparison::NotEqual(value)
            | Comparison::Less(value)
            | Comparison::LessOrEqual(value)
            | Comparison::Equal(value)
            | Comparison::GreaterOrEqual(value)
            | Comparison::Greater(value) => vec![value],
            Comparison::MaskedEqual { mask, value } => vec![value & mask, value | !mask, value ^ mask],
        })
        .flat_map(|value| [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32)])
        .chain([0])
        .collect();
    let argument = prop_oneof![3 => prop::sample::select(values), 1 => value()];
    let call = (prop::sample::select(numbers), prop::array::uniform6(argument), any::<u64>(), any::<u32>());
    let call = call.prop_map(|((arch, number), arguments, instruction_pointer, token)| SeccompData {
        number,
        audit_arch: if arch == Arch::Unknown { token } else { arch.audit_token() },
        instruction_pointer,
        arguments,
    });
    prop::collection::vec(call, 1..64)
}
