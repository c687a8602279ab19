use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use seccomp_agent_profile::{Action, NormalForm};
use seccomp_agent_registry::{Call, Handler, Verdict};
use seccomp_agent_syscall::Syscall;
use serde::Serialize;

/// Callers of one call that are kept, and lists of its arguments: enough to see who it is and what it wants.
const MAX_EXAMPLES: usize = 4;

/// Lets every call go on, and remembers those that a profile would refuse. Clones remember together.
#[derive(Clone)]
pub(super) struct Refusals {
    meaning: Arc<NormalForm>,
    seen: Arc<Mutex<BTreeMap<(Syscall, String), Refused>>>,
}

/// A call that would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refused {
    /// Its name, or architecture and number.
    pub(super) call: String,
    /// The architecture.
    pub(super) architecture: String,
    /// What the profile does to it.
    pub(super) action: String,
    /// How often it was made.
    pub(super) count: u64,
    /// The first different arguments, all six registers.
    pub(super) arguments: Vec<[u64; 6]>,
    /// The first threads that made it.
    pub(super) callers: Vec<Caller>,
    /// Which arguments the profile's rules for it look at.
    #[serde(skip)]
    compared: Vec<usize>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Caller {
    /// Its process, in the pid namespace that the command was started in.
    pub(super) pid: u32,
    /// The thread.
    pub(super) tid: u32,
    /// Its name, as it is in `/proc/PID/status`: without control characters.
    pub(super) comm: String,
}

impl Refusals {
    /// Of a profile that means this.
    pub(super) fn of(meaning: NormalForm) -> Self {
        Self { meaning: Arc::new(meaning), seen: Arc::default() }
    }

    /// What would have been refused so far, the most frequent call first.
    pub(super) fn all(&self) -> Vec<Refused> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = seen.values().cloned().collect();
        all.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        all
    }

    fn add(&self, call: &Call<'_>, action: Action) {
        let (syscall, args) = (call.syscall(), call.notification().args);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = seen.entry((syscall, action.to_string())).or_insert_with(|| {
            let cases = self.meaning.decision(syscall).cases;
            let conditions = cases.iter().flat_map(|case| &case.conditions);
            let mut compared: Vec<_> =
                conditions.map(|condition| usize::from(condition.argument())).collect();
            compared.sort_unstable();
            compared.dedup();
            Refused {
                call: syscall.to_string(),
                architecture: syscall.arch.to_string(),
                action: action.to_string(),
                count: 0,
                arguments: Vec::new(),
                callers: Vec::new(),
                compared,
            }
        });
        refused.count += 1;
        if refused.arguments.len() < MAX_EXAMPLES && !refused.arguments.contains(&args) {
            refused.arguments.push(args);
        }
        let is_new = refused.callers.iter().all(|caller| caller.tid != call.tid());
        if is_new && refused.callers.len() < MAX_EXAMPLES {
            refused.callers.extend(Caller::of(call.tid()));
        }
    }
}

impl Handler for Refusals {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        let action = self.meaning.action_for(call.syscall(), &call.notification().args);
        // What is notified, somebody else decides.
        if !action.is_permissive() && action != Action::Notify {
            self.add(call, action);
        }
        Verdict::Continue
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl Caller {
    /// While it waits for the answer to a call, so that the number is its own.
    fn of(tid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let pid = field("Tgid:")?.parse().ok()?;
        // The kernel writes control characters of it as `\n` or octal; what is not ASCII may turn a terminal's text.
        let comm = field("Name:")?.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
        Some(Self { pid, tid, comm })
    }
}

impl Refused {
    /// The arguments that the profile looks at, or else all, of each example.
    pub(super) fn examples(&self) -> String {
        let shown = |args: &[u64; 6]| {
            let compared = self.compared.iter().map(|index| format!("arg{index}={:#x}", args[*index]));
            let compared: Vec<_> = compared.collect();
            if compared.is_empty() {
                let all: Vec<_> = args.iter().map(|arg| format!("{arg:#x}")).collect();
                all.join(",")
            } else {
                compared.join(",")
            }
        };
        let mut all: Vec<_> = self.arguments.iter().map(shown).collect();
        all.dedup();
        // Pointers and what was left in registers tell little, so that one example of them is enough.
        all.truncate(if self.compared.is_empty() { 1 } else { MAX_EXAMPLES });
        all.join(" ")
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_profile::{Comparison, Condition, Profile};
    use seccomp_agent_registry::{Arch, Container, Notification};

    /// What becomes of these calls, with their first arguments, made by this very thread.
    fn refusals(profile: &Profile, calls: &[(&str, u64)]) -> Vec<Refused> {
        let refusals = Refusals::of(profile.resolve(Arch::native()).normal_form);
        let container = Container::named("c");
        for (name, first) in calls {
            let mut notification = Notification::sample(name);
            notification.args[0] = *first;
            notification.tid = std::process::id();
            assert_eq!(refusals.handle(&Call::new(&notification, &container)), Verdict::Continue);
        }
        refusals.all()
    }

    #[test]
    fn what_is_refused_is_counted_with_arguments_and_caller() {
        let profile = Profile::new(Action::Errno(1)).rule(Action::Allow, ["read"]);
        let all = refusals(&profile, &[("read", 1), ("close", 3), ("close", 3), ("close", 4), ("openat", 5)]);
        let close = &all[0];
        assert_eq!((close.call.as_str(), close.count, close.arguments.len()), ("close", 3, 2));
        assert_eq!((close.callers.len(), close.callers[0].pid), (1, std::process::id()));
        assert!(!close.callers[0].comm.is_empty());
        assert_eq!((all.len(), all[1].call.as_str()), (2, "openat"));
    }

    #[test]
    fn of_a_call_that_is_refused_for_its_arguments_these_are_shown() {
        let only = Condition::new(0, Comparison::Equal(2)).unwrap();
        let profile = Profile::new(Action::Allow).rule(Action::Notify, ["read"]).rule_when(
            Action::KillProcess,
            ["socket"],
            [only],
        );
        let all = refusals(&profile, &[("read", 1), ("socket", 1), ("socket", 2)]);
        assert_eq!((all.len(), all[0].count, all[0].examples().as_str()), (1, 1, "arg0=0x2"));
        assert_eq!(all[0].action, Action::KillProcess.to_string());
    }

    #[test]
    fn examples_are_bounded() {
        let calls: Vec<_> = (0..20).map(|first| ("close", first)).collect();
        let all = refusals(&Profile::new(Action::Errno(1)), &calls);
        assert_eq!((all[0].count, all[0].arguments.len()), (20, MAX_EXAMPLES));
    }
}
