use std::time::{Duration, Instant};

use seccomp_agent_registry::{Call, Errno, Handler, Notice, Verdict};

use crate::limit::Limit;
use crate::pattern::Pattern;

/// `execve(2)` and `execveat(2)` of paths of a pattern: delayed, or told of, or both. The other threads and
/// processes of the container go on. And the start of a container's own program, whatever its path is.
///
/// An alert is [noted](Call::note), for a record at the level of a warning; where nobody takes notes, it is
/// logged, ten in 10 s at most.
///
/// **Grants** nothing; the call continues in the end.
///
/// **Is no barrier, and no proof.** The path is compared as the caller wrote it: `/bin/../bin/true`, a symbolic
/// link, a copy, a descriptor's name or `execveat` with an empty path name the same program otherwise. And the
/// kernel reads the path again when the call continues: another thread can have changed it by then, so a program
/// that is told of need not be the one that starts, nor one that starts be told of. It slows down, or shows,
/// programs that do not mind; who minds is not stopped by it.
#[derive(Clone, Debug, Default)]
pub struct Executions {
    delayed: Option<(Pattern, Duration)>,
    alerting: Vec<Pattern>,
    begin: Option<Instant>,
}

/// How many alerts are logged in 10 s where nobody takes notes.
const MAX_ALERTS: u32 = 10;

impl Executions {
    /// Nothing is delayed or told of.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delays what is of `pattern` by `delay`.
    #[must_use]
    pub fn delaying(self, pattern: Pattern, delay: Duration) -> Self {
        Self { delayed: Some((pattern, delay)), ..self }
    }

    /// Tells of what is of any of these.
    #[must_use]
    pub fn alerting(self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self { alerting: patterns.into_iter().collect(), ..self }
    }
}

impl Executions {
    /// Lets the container's own program start when this much time has passed from now on: one of these is for one
    /// container, made when that comes. What `exec` adds to it starts at once.
    #[must_use]
    pub fn starting_late(self, delay: Duration) -> Self {
        Self { begin: Instant::now().checked_add(delay), ..self }
    }

    /// How much of that is left. What runs before its end is the container's init, or has been waited for by it.
    fn left(&self, call: &Call<'_>) -> Option<Duration> {
        let begin = self.begin.filter(|_| !call.container().is_exec())?;
        Some(begin.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl Handler for Executions {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        let left = self.left(call);
        let late = |delay: Option<Duration>| {
            delay.max(left).map_or(Verdict::Continue, |delay| Verdict::after(delay, Verdict::Continue))
        };
        if self.delayed.is_none() && self.alerting.is_empty() {
            return late(None);
        }
        let argument = usize::from(call.syscall().name() == Some("execveat"));
        // A path that cannot be read is the kernel's to refuse.
        let Ok(path) = call.memory().path(call.arg(argument)) else { return late(None) };
        if !call.is_valid() {
            return Verdict::Errno(Errno::INTR);
        }
        let alerting = self.alerting.iter().find(|pattern| pattern.matches(path.as_bytes()));
        let delay = self.delayed.as_ref().filter(|(pattern, _)| pattern.matches(path.as_bytes()));
        if alerting.is_some() || delay.is_some() {
            call.note(|noted| {
                noted.path(&path);
            });
        }
        if let Some(pattern) = alerting {
            alert(call, pattern);
        }
        late(delay.map(|(_, delay)| *delay))
    }

    fn name(&self) -> &'static str {
        "exec"
    }
}

fn alert(call: &Call<'_>, pattern: &Pattern) {
    static ALERTS: Limit = Limit::of(MAX_ALERTS);
    let is_noted = call.note(|noted| {
        noted.asks(format_args!("pattern={:?}", pattern.to_string())).notice = Notice::Alert;
    });
    if is_noted {
        return;
    }
    if let Some(left_out) = ALERTS.one_more(Instant::now()) {
        tracing::warn!(
            container = %call.container().id,
            syscall = %call.syscall(),
            tid = call.tid(),
            %pattern,
            left_out,
            "a program of a pattern is started",
        );
    }
}
