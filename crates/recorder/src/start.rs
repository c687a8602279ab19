use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use seccomp_agent_registry::Notification;
use seccomp_agent_syscall::{Arch, Syscall};

use crate::counts::{Counts, PLACES, place};

/// Tells what a runtime does under the filter of one listener, before it starts the program, from what the program
/// does.
///
/// A runtime ends by executing the program, and a call that comes from another instruction than that `execve` shows
/// that it succeeded: the runtime's own memory is gone. Going by one comparison, this needs to know neither the
/// runtime nor its threads. It errs to the safe side: what a runtime does after an `execve` that failed counts as the
/// program's. While no `execve` was notified, nothing can be told, and everything counts as the program's.
pub(crate) struct Start {
    has_ended: AtomicBool,
    /// Where the last `execve` came from.
    execute: AtomicU64,
    /// How often each native call was made so far.
    calls: Box<[AtomicU32]>,
}

/// Where no call can come from.
const NOWHERE: u64 = u64::MAX;

impl Start {
    pub(crate) fn new() -> Self {
        Self {
            has_ended: AtomicBool::new(false),
            execute: AtomicU64::new(NOWHERE),
            calls: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Is told of every call of the listener. When the start is over, `counts` learns what belonged to it.
    pub(crate) fn see(&self, notification: &Notification, counts: &Counts) {
        if self.has_ended.load(Ordering::Relaxed) {
            return;
        }
        let from = notification.instruction_pointer;
        let execute = self.execute.load(Ordering::Relaxed);
        if execute != NOWHERE && from != execute {
            if !self.has_ended.swap(true, Ordering::Relaxed) {
                self.tell(counts);
            }
            return;
        }
        let syscall = notification.syscall;
        if syscall.arch != Arch::native() {
            return;
        }
        if let Some(calls) = place(syscall).and_then(|place| self.calls.get(place)) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        if is_execute(syscall) {
            self.execute.store(from, Ordering::Relaxed);
        }
    }

    fn tell(&self, counts: &Counts) {
        for (place, count) in self.calls.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                counts.were_starting(place, count);
            }
        }
    }
}

fn is_execute(syscall: Syscall) -> bool {
    matches!(syscall.name(), Some("execve" | "execveat"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Call, Container};

    /// Calls with their instruction pointers; afterwards, which were the runtime's and how often.
    fn starting(calls: &[(&str, u64)]) -> Vec<(&'static str, u64)> {
        let (start, counts) = (Start::new(), Counts::new());
        for (name, from) in calls {
            let mut notification = Notification::sample(name);
            notification.instruction_pointer = *from;
            counts.add(&Call::new(&notification, &Container::named("c")));
            start.see(&notification, &counts);
        }
        let calls = counts.seen().filter(|(_, seen)| seen.starting > 0);
        let mut all: Vec<_> = calls.map(|(call, seen)| (call.name().unwrap(), seen.starting)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_comes_before_the_program_is_the_runtimes() {
        let calls = [("close", 1), ("futex", 2), ("close", 1), ("execve", 1), ("brk", 9), ("close", 9)];
        assert_eq!(starting(&calls), [("close", 2), ("execve", 1), ("futex", 1)]);
    }

    #[test]
    fn an_execve_that_fails_does_not_start_the_program() {
        let calls = [("execve", 1), ("execve", 1), ("write", 1), ("brk", 9), ("write", 9)];
        assert_eq!(starting(&calls), [("execve", 2), ("write", 1)]);
    }

    #[test]
    fn a_program_that_executes_another_stays_a_program() {
        let calls = [("execve", 1), ("brk", 9), ("execve", 9), ("brk", 7)];
        assert_eq!(starting(&calls), [("execve", 1)]);
    }

    #[test]
    fn without_an_execve_nothing_is_the_runtimes() {
        assert_eq!(starting(&[("close", 1), ("brk", 9), ("close", 9)]), []);
    }
}
