use std::time::Duration;

use seccomp_agent_registry::{Call, Errno, Handler, Verdict};

use crate::pattern::Pattern;

/// `execve(2)` and `execveat(2)` of a path of a pattern, delayed. The other threads and processes of the
/// container go on.
///
/// **Grants** nothing; the call continues in the end.
///
/// **Is no barrier.** The path is compared as the caller wrote it: `/bin/../bin/true`, a symbolic link, a copy
/// or a descriptor name the same program otherwise, and another thread can change the path while the delay
/// lasts. It slows programs down that do not mind; it stops nobody who does.
#[derive(Clone, Debug)]
pub struct ExecDelay {
    pattern: Pattern,
    delay: Duration,
}

impl ExecDelay {
    /// Delays what is of `pattern` by `delay`.
    pub const fn new(pattern: Pattern, delay: Duration) -> Self {
        Self { pattern, delay }
    }
}

impl Handler for ExecDelay {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        let argument = usize::from(call.syscall().name() == Some("execveat"));
        // A path that cannot be read is the kernel's to refuse.
        let Ok(path) = call.memory().path(call.arg(argument)) else { return Verdict::Continue };
        match call.check_valid() {
            Err(_) => Verdict::Errno(Errno::INTR),
            Ok(()) if self.pattern.matches(path.as_bytes()) => Verdict::after(self.delay, Verdict::Continue),
            Ok(()) => Verdict::Continue,
        }
    }

    fn name(&self) -> &'static str {
        "exec-delay"
    }
}
