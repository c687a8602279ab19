use std::collections::BTreeSet;

use seccomp_agent_syscall::{Arch, Syscall};

use crate::provenance::Reason;

/// Calls that a program needs although no run has to show them: a way to go on where another machine, or the next
/// moment, is not like the one that was recorded.
const ALWAYS: &[(&str, Reason)] = &[
    ("exit", Reason::End),
    ("exit_group", Reason::End),
    ("restart_syscall", Reason::Signal),
    ("rt_sigreturn", Reason::Signal),
    ("sigreturn", Reason::Signal),
    ("clock_getres", Reason::Vdso),
    ("clock_getres_time64", Reason::Vdso),
    ("clock_gettime", Reason::Vdso),
    ("clock_gettime64", Reason::Vdso),
    ("getcpu", Reason::Vdso),
    ("getrandom", Reason::Vdso),
    ("gettimeofday", Reason::Vdso),
    ("time", Reason::Vdso),
];

/// Calls that take the place of another one where the kernel lacks it: whoever makes the first, needs the second.
const INSTEAD: &[(&str, &str)] = &[("clone3", "clone")];

/// What programs need that run on these architectures and were seen to make some of the calls.
pub(crate) fn closure(archs: &BTreeSet<Arch>, makes: impl Fn(&str) -> bool) -> Vec<(&'static str, Reason)> {
    let exists = |name: &str| archs.iter().any(|arch| Syscall::named(*arch, name).is_some());
    let always = ALWAYS.iter().filter(|(name, _)| exists(name)).cloned();
    let instead = INSTEAD.iter().filter(|(of, _)| makes(of));
    always.chain(instead.map(|(of, name)| (*name, Reason::Instead { of: (*of).to_owned() }))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archs: &[Arch], makes: &[&str]) -> Vec<&'static str> {
        closure(&archs.iter().copied().collect(), |name| makes.contains(&name))
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn every_name_is_a_call() {
        let all = ALWAYS.iter().map(|(name, _)| *name);
        for name in all.chain(INSTEAD.iter().flat_map(|(of, name)| [*of, *name])) {
            assert!(seccomp_agent_syscall::is_known_name(name), "{name}");
        }
    }

    #[test]
    fn a_program_can_always_end_return_from_signals_and_tell_the_time() {
        let names = names(&[Arch::X86_64], &[]);
        for name in ["exit", "exit_group", "rt_sigreturn", "restart_syscall", "clock_gettime", "time"] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn calls_of_32_bit_programs_are_for_who_runs_some() {
        for name in ["sigreturn", "clock_gettime64"] {
            assert!(!names(&[Arch::X86_64], &[]).contains(&name), "{name}");
            assert!(names(&[Arch::X86_64, Arch::X86], &[]).contains(&name), "{name}");
        }
    }

    #[test]
    fn whoever_makes_clone3_may_have_to_make_clone() {
        assert!(names(&[Arch::X86_64], &["clone3"]).contains(&"clone"));
        assert!(!names(&[Arch::X86_64], &["fork"]).contains(&"clone"));
    }
}
