use std::fmt;
use std::time::Duration;

use seccomp_agent_notify::Errno;

use crate::call::Call;

/// How a call is to be answered.
#[must_use = "a verdict answers nothing until the engine carries it out"]
pub enum Verdict {
    /// The kernel runs the call as if nobody had been asked. Never a way to enforce anything: the caller's
    /// other threads can change what its arguments point to before the kernel looks again.
    Continue,
    /// The call returns this value without being run.
    Return(i64),
    /// The call fails with this error without being run.
    Errno(Errno),
    /// The caller's process is ended with SIGKILL.
    Kill,
    /// The inner verdict, this much later. Costs no thread, and holds up nobody but the caller.
    After(Duration, Box<Verdict>),
    /// The verdict is found by a closure that may take long. It runs on a thread of its own, so that the
    /// container's other calls go on meanwhile; how many do so at once is bounded per container.
    Later(Box<dyn FnOnce(&Call<'_>) -> Verdict + Send>),
}

impl Verdict {
    /// `verdict`, after `delay`.
    pub fn after(delay: Duration, verdict: Verdict) -> Self {
        Self::After(delay, Box::new(verdict))
    }

    /// What `work` says, when it is done.
    pub fn later(work: impl FnOnce(&Call<'_>) -> Verdict + Send + 'static) -> Self {
        Self::Later(Box::new(work))
    }

    /// The word for it in metrics and audit records.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Return(_) => "return",
            Self::Errno(_) => "errno",
            Self::Kill => "kill",
            Self::After(..) => "after",
            Self::Later(_) => "later",
        }
    }
}

impl From<Result<i64, Errno>> for Verdict {
    /// What an emulated call did, as its answer.
    fn from(outcome: Result<i64, Errno>) -> Self {
        match outcome {
            Ok(value) => Self::Return(value),
            Err(errno) => Self::Errno(errno),
        }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("Continue"),
            Self::Return(value) => f.debug_tuple("Return").field(value).finish(),
            Self::Errno(errno) => f.debug_tuple("Errno").field(errno).finish(),
            Self::Kill => f.write_str("Kill"),
            Self::After(delay, verdict) => f.debug_tuple("After").field(delay).field(verdict).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

impl PartialEq for Verdict {
    /// Two closures are never equal.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Continue, Self::Continue) | (Self::Kill, Self::Kill) => true,
            (Self::Return(a), Self::Return(b)) => a == b,
            (Self::Errno(a), Self::Errno(b)) => a == b,
            (Self::After(a, x), Self::After(b, y)) => a == b && x == y,
            _ => false,
        }
    }
}
