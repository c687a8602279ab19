//! What runc and libseccomp make of the corners of a profile.

use seccomp_agent_profile::{Action, Comparison, Condition, NormalForm, Profile};
use seccomp_agent_syscall::{Arch, Syscall};

const DEFAULT: Action = Action::Errno(1);

fn equal(argument: u8, value: u64) -> Condition {
    Condition::new(argument, Comparison::Equal(value)).unwrap()
}

fn form(profile: &Profile) -> NormalForm {
    profile.resolve(Arch::X86_64).normal_form
}

fn action(form: &NormalForm, arch: Arch, name: &str, arguments: [u64; 6]) -> Action {
    form.action_for(Syscall::named(arch, name).unwrap(), &arguments)
}

#[test]
fn the_native_architecture_is_always_in_and_others_kill() {
    let form = form(&Profile::new(DEFAULT).architectures([Arch::X86, Arch::Aarch64]));
    for (arch, number, expected) in [
        (Arch::X86_64, 0, DEFAULT),
        (Arch::X86, 0, DEFAULT),
        (Arch::X32, 0x4000_0000, Action::KillThread),
        (Arch::X86_64, 0x8000_0000, Action::KillThread),
        // A call that a tracer skips.
        (Arch::X32, u32::MAX, DEFAULT),
        (Arch::Aarch64, 0, Action::KillThread),
        (Arch::Unknown, 0, Action::KillThread),
    ] {
        assert_eq!(form.action_for(Syscall::new(arch, number), &[0; 6]), expected, "{arch} {number:#x}");
    }
}

#[test]
fn a_rule_with_the_default_action_is_no_exception_from_another() {
    let form = form(&Profile::new(DEFAULT).rule(Action::Allow, ["read"]).rule_when(
        DEFAULT,
        ["read"],
        [equal(0, 7)],
    ));
    assert_eq!(action(&form, Arch::X86_64, "read", [7; 6]), Action::Allow);
}

#[test]
fn a_rule_without_conditions_beats_those_with_and_the_first_of_them_the_others() {
    let conditional = |profile: Profile| profile.rule_when(Action::Notify, ["read"], [equal(0, 7)]);
    let plain = |profile: Profile| profile.rule(Action::Allow, ["read"]);
    for profile in [conditional(plain(Profile::new(DEFAULT))), plain(conditional(Profile::new(DEFAULT)))] {
        assert_eq!(action(&form(&profile), Arch::X86_64, "read", [7; 6]), Action::Allow);
        let again = form(&profile.rule(Action::Log, ["read"]));
        assert_eq!(action(&again, Arch::X86_64, "read", [7; 6]), Action::Allow);
    }
}

#[test]
fn conditions_are_anded_unless_two_are_of_one_argument() {
    let rule = |conditions: &[Condition]| {
        form(&Profile::new(DEFAULT).rule_when(Action::Allow, ["read"], conditions.to_vec()))
    };
    let all = rule(&[equal(0, 1), equal(1, 2)]);
    let any = rule(&[equal(0, 1), equal(0, 3), equal(1, 2)]);
    for (arguments, with_all, with_any) in [
        ([1, 2, 0, 0, 0, 0], Action::Allow, Action::Allow),
        ([1, 0, 0, 0, 0, 0], DEFAULT, Action::Allow),
        ([3, 0, 0, 0, 0, 0], DEFAULT, Action::Allow),
        ([0, 2, 0, 0, 0, 0], DEFAULT, Action::Allow),
        ([0, 0, 0, 0, 0, 0], DEFAULT, DEFAULT),
    ] {
        assert_eq!(action(&all, Arch::X86_64, "read", arguments), with_all, "{arguments:?}");
        assert_eq!(action(&any, Arch::X86_64, "read", arguments), with_any, "{arguments:?}");
    }
}

#[test]
fn a_multiplexed_call_is_decided_there_too() {
    let profile = Profile::new(DEFAULT).architectures([Arch::X86]).rule_when(
        Action::Notify,
        ["connect", "shmat"],
        [equal(0, 9), equal(1, 5)],
    );
    let form = form(&profile);
    for (name, arguments, expected) in [
        ("connect", [9, 5, 0, 0, 0, 0], Action::Notify),
        ("socketcall", [3, 5, 0, 0, 0, 0], Action::Notify),
        ("socketcall", [3, 6, 0, 0, 0, 0], DEFAULT),
        ("socketcall", [2, 5, 0, 0, 0, 0], DEFAULT),
        ("ipc", [21, 5, 0, 0, 0, 0], Action::Notify),
    ] {
        assert_eq!(action(&form, Arch::X86, name, arguments), expected, "{name} {arguments:?}");
    }
}

#[test]
fn of_32_bits_only_the_lower_half_counts() {
    let profile = Profile::new(DEFAULT).architectures([Arch::X86]).rule_when(
        Action::Allow,
        ["read"],
        [equal(0, 0x5_0000_0007)],
    );
    let form = form(&profile);
    assert_eq!(action(&form, Arch::X86, "read", [0x9_0000_0007, 0, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(action(&form, Arch::X86_64, "read", [0x9_0000_0007, 0, 0, 0, 0, 0]), DEFAULT);
}

#[test]
fn runc_answers_calls_that_are_newer_than_the_profile_with_enosys() {
    let names = ["read", "openat2"];
    let newest = Syscall::named(Arch::X86_64, "openat2").unwrap();
    let newer = Syscall::new(Arch::X86_64, newest.number + 1);
    let under_default =
        |default| form(&Profile::new(default).rule(Action::Allow, names)).with_enosys_for_unknown();
    assert_eq!(under_default(DEFAULT).action_for(newer, &[0; 6]), Action::Errno(38));
    assert_eq!(under_default(DEFAULT).action_for(newest, &[0; 6]), Action::Allow);
    assert_eq!(under_default(DEFAULT).action_for(Syscall::new(Arch::X86_64, 1), &[0; 6]), DEFAULT);
    for permissive in [Action::Allow, Action::Log, Action::Trace(0)] {
        assert_eq!(under_default(permissive).action_for(newer, &[0; 6]), permissive);
    }
}

#[test]
fn the_order_of_names_rules_and_architectures_does_not_count() {
    let one = Profile::new(DEFAULT)
        .architectures([Arch::X86])
        .rule(Action::Allow, ["read", "write"])
        .rule_when(Action::Notify, ["mkdir"], [equal(1, 2), equal(0, 1)]);
    let other = Profile::new(DEFAULT)
        .architectures([Arch::X86_64, Arch::X86])
        .rule_when(Action::Notify, ["mkdir"], [equal(0, 1), equal(1, 2)])
        .rule(Action::Allow, ["write"])
        .rule(Action::Allow, ["read", "no_such_call"]);
    assert_eq!(form(&one), form(&other));
    assert_eq!(
        form(&one).to_string(),
        "x86_64: ERRNO(1)\n  read: ALLOW\n  write: ALLOW\n  mkdir: arg0 == 1 and arg1 == 2: NOTIFY; otherwise ERRNO(1)\n\
         x86: ERRNO(1)\n  read: ALLOW\n  write: ALLOW\n  mkdir: arg0 == 1 and arg1 == 2: NOTIFY; otherwise ERRNO(1)\n\
         other architectures: KILL_THREAD\n"
    );
}
