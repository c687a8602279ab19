use std::collections::BTreeSet;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use seccomp_agent_launcher::Signal;
use seccomp_agent_recorder::Recorder;
use seccomp_agent_syscall::Syscall;

/// How often the line is written anew, and how exact a duration is.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// How long the command has to end by SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A line on a terminal that says what was recorded so far. It is gone when this is dropped.
pub(super) struct Progress<'a> {
    recorder: &'a Recorder,
    known: BTreeSet<Syscall>,
    newest: Option<Syscall>,
}

impl<'a> Progress<'a> {
    /// Where standard error is a terminal.
    pub(super) fn on_terminal(recorder: &'a Recorder) -> Option<Self> {
        stderr().is_terminal().then(|| Self { recorder, known: BTreeSet::new(), newest: None })
    }

    /// Writes the line.
    pub(super) fn show(&mut self) {
        let line = self.line();
        // Where nobody reads it, nobody misses it.
        let _written = write!(stderr(), "\r{line}{ERASE}");
    }

    fn line(&mut self) -> String {
        for syscall in self.recorder.recording().calls().into_keys() {
            if self.known.insert(syscall) {
                self.newest = Some(syscall);
            }
        }
        let newest = self.newest.map(|syscall| format!(", newest {syscall}")).unwrap_or_default();
        format!("{} calls, {} different{newest}", self.recorder.calls(), self.known.len())
    }
}

/// To the end of the line (ECMA-48, EL).
const ERASE: &str = "\x1b[K";

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        let _written = write!(stderr(), "\r{ERASE}");
    }
}

/// The end of a command that may not run for ever.
pub(super) struct Deadline {
    since: Instant,
    duration: Duration,
    is_asked: bool,
}

impl Deadline {
    /// `duration` from now on.
    pub(super) fn after(duration: Duration) -> Self {
        Self { since: Instant::now(), duration, is_asked: false }
    }

    /// The signal that is due now, if one is: SIGTERM once, and SIGKILL for who does not obey.
    pub(super) fn due(&mut self) -> Option<Signal> {
        let elapsed = self.since.elapsed();
        if elapsed < self.duration {
            None
        } else if elapsed >= self.duration + GRACE {
            Some(Signal::KILL)
        } else {
            (!std::mem::replace(&mut self.is_asked, true)).then_some(Signal::TERM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Call, Container, Notification, Registry, Verdict};

    #[test]
    fn the_line_says_how_many_calls_how_many_different_and_the_newest() {
        let recorder = Recorder::new();
        let mut registry = Registry::new();
        recorder.attach(&mut registry);
        let mut progress = Progress { recorder: &recorder, known: BTreeSet::new(), newest: None };
        assert_eq!(progress.line(), "0 calls, 0 different");
        for (name, line) in [
            ("read", "1 calls, 1 different, newest read"),
            ("close", "2 calls, 2 different, newest close"),
            ("read", "3 calls, 2 different, newest close"),
        ] {
            let (notification, container) = (Notification::sample(name), Container::named("c"));
            assert_eq!(registry.answer(&Call::new(&notification, &container)), Verdict::Continue);
            assert_eq!(progress.line(), line);
        }
    }

    #[test]
    fn the_end_is_asked_for_once_and_then_brought_about() {
        let mut deadline = Deadline::after(Duration::ZERO);
        assert_eq!((deadline.due(), deadline.due()), (Some(Signal::TERM), None));
        deadline.since = deadline.since.checked_sub(GRACE).unwrap();
        assert_eq!((deadline.due(), deadline.due()), (Some(Signal::KILL), Some(Signal::KILL)));
        assert_eq!(Deadline::after(Duration::from_secs(3600)).due(), None);
    }
}
