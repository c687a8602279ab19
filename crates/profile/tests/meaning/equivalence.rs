//! The compiler, the interpreter and the normal form say the same, and so does seccompiler on what it can express.

use crate::strategy::{calls, condition, profile, value};
use proptest::prelude::*;
use seccomp_agent_profile::{
    Action, ByteOrder, Comparison, Condition, Instruction, NormalForm, Profile, Program, SeccompData, compile,
};
use seccomp_agent_syscall::{Arch, Syscall};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

fn natives() -> impl Strategy<Value = Arch> {
    prop::sample::select(vec![Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::S390x, Arch::Mips64])
}

fn profile_and_calls(rules: usize) -> impl Strategy<Value = (Profile, Vec<SeccompData>)> {
    profile(rules).prop_flat_map(|profile| {
        let calls = calls(&profile);
        (Just(profile), calls)
    })
}

fn assert_same(form: &NormalForm, calls: &[SeccompData]) -> Result<(), TestCaseError> {
    let filter = compile(form).unwrap();
    for data in calls {
        prop_assert_eq!(filter.run(data), form.action_for_data(data), "{:?}\n{}\n{}", data, form, filter);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_filter_does_what_the_normal_form_says((profile, calls) in profile_and_calls(12), native in natives()) {
        let form = profile.resolve(native).normal_form;
        assert_same(&form, &calls)?;
        assert_same(&form.with_enosys_for_unknown(), &calls)?;
    }

    #[test]
    fn seccompiler_agrees(
        cases in prop::collection::vec(
            (prop::sample::select(vec!["read", "socket", "personality", "close"]),
             prop::collection::btree_map(0..6_u8, condition(0..1), 1..3)),
            1..12,
        ),
        always in prop::sample::subsequence(vec!["open", "mkdir", "dup", "dup2", "fork", "kill"], 0..6),
        arguments in prop::collection::vec(prop::array::uniform6(value()), 32),
    ) {
        let mut profile = Profile::new(Action::Errno(1)).rule(Action::Allow, always.iter().copied());
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            always.iter().map(|name| (number(name), Vec::new())).collect();
        for (name, conditions) in cases {
            let conditions: Vec<_> = conditions
                .into_iter()
                .map(|(argument, condition)| Condition::new(argument, condition.comparison()).unwrap())
                .collect();
            let theirs = conditions.iter().map(|condition| their_condition(*condition)).collect();
            rules.entry(number(name)).or_default().push(SeccompRule::new(theirs).unwrap());
            profile = profile.rule_when(Action::Allow, [name], conditions);
        }
        let theirs = their_filter(rules);
        let ours = compile(&profile.resolve(Arch::X86_64).normal_form).unwrap();
        for name in ["read", "socket", "personality", "close", "open", "mkdir", "dup", "dup3", "kill"] {
            for arguments in &arguments {
                let call = Syscall::named(Arch::X86_64, name).unwrap();
                let data = SeccompData::new(call, *arguments);
                prop_assert_eq!(ours.run(&data), theirs.run(&data), "{} {:x?}\n{}", name, arguments, ours);
            }
        }
    }
}

fn number(name: &str) -> i64 {
    Syscall::named(Arch::X86_64, name).unwrap().number.into()
}

/// seccompiler masks the argument only, where libseccomp masks the value too.
fn their_condition(condition: Condition) -> SeccompCondition {
    let (operator, value) = match condition.comparison() {
        Comparison::NotEqual(value) => (SeccompCmpOp::Ne, value),
        Comparison::Less(value) => (SeccompCmpOp::Lt, value),
        Comparison::LessOrEqual(value) => (SeccompCmpOp::Le, value),
        Comparison::Equal(value) => (SeccompCmpOp::Eq, value),
        Comparison::GreaterOrEqual(value) => (SeccompCmpOp::Ge, value),
        Comparison::Greater(value) => (SeccompCmpOp::Gt, value),
        Comparison::MaskedEqual { mask, value } => (SeccompCmpOp::MaskedEq(mask), value & mask),
    };
    SeccompCondition::new(condition.argument(), SeccompCmpArgLen::Qword, operator, value).unwrap()
}

fn their_filter(rules: BTreeMap<i64, Vec<SeccompRule>>) -> Program {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(1),
        SeccompAction::Allow,
        seccompiler::TargetArch::x86_64,
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let instructions =
        program.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    Program::new(instructions, ByteOrder::Little).unwrap()
}

#[test]
fn jumps_over_more_than_255_instructions_arrive() {
    let names: Vec<_> = Syscall::all(Arch::X86_64).filter_map(Syscall::name).step_by(3).collect();
    let mut profile = Profile::new(Action::Errno(1)).architectures([Arch::X86, Arch::X32]);
    for (i, name) in names.iter().enumerate() {
        let value = u64::try_from(i).unwrap();
        let conditions = [
            Condition::new(1, Comparison::Greater(value << 31)).unwrap(),
            Condition::new(2, Comparison::NotEqual(value)).unwrap(),
        ];
        profile = profile.rule_when(Action::Errno(2 + u16::try_from(i).unwrap()), [*name], conditions);
    }
    let form = profile.resolve(Arch::X86_64).normal_form;
    let filter = compile(&form).unwrap();
    assert!(filter.instructions().len() > 2000, "{}", filter.instructions().len());
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for call in Syscall::all(arch) {
            for arguments in [[0; 6], [0, u64::MAX, u64::MAX, 0, 0, 0], [0, 1 << 31, 0, 0, 0, 0], [7; 6]] {
                let data = SeccompData::new(call, arguments);
                assert_eq!(filter.run(&data), form.action_for_data(&data), "{call} on {arch} {arguments:?}");
            }
        }
    }
}

#[test]
fn a_filter_that_is_too_long_says_how_long() {
    let values = (0..2000_u64).map(|value| Condition::new(0, Comparison::Equal(value << 20)).unwrap());
    let profile = Profile::new(Action::Allow).rule_when(Action::Errno(1), ["ioctl"], values);
    let error = compile(&profile.resolve(Arch::X86_64).normal_form).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the filter needs 8044 instructions and the kernel takes 4096: name fewer arguments"
    );
}
