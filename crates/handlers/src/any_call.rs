use std::time::Duration;

use seccomp_agent_registry::{Call, Errno, Handler, Notice, Verdict};

/// Any call, answered in the same way whatever its arguments are.
///
/// **Grants** nothing and reads nothing. Unlike the actions of a profile, it can be changed while the container
/// runs.
///
/// **Cannot know** what the call would have done: one that is said to have returned has not been run, and one
/// that is continued is run as the kernel sees fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyCall {
    /// It goes on: as if nobody had been asked.
    Continue,
    /// It goes on, and is [noted](Call::note) to be recorded; where nobody takes notes, it is logged.
    Log,
    /// It goes on, this much later. The caller's other threads do not wait.
    Delay(Duration),
    /// It is not run, and returns this.
    Return(i64),
    /// It is not run, and fails with this.
    Errno(Errno),
    /// The caller's process is killed.
    Kill,
}

impl Handler for AnyCall {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        match *self {
            Self::Continue => Verdict::Continue,
            Self::Log => {
                log(call);
                Verdict::Continue
            }
            Self::Delay(delay) => Verdict::after(delay, Verdict::Continue),
            Self::Return(value) => Verdict::Return(value),
            Self::Errno(errno) => Verdict::Errno(errno),
            Self::Kill => Verdict::Kill,
        }
    }

    /// Only writing to the log can wait.
    fn may_block(&self) -> bool {
        matches!(self, Self::Log)
    }

    fn name(&self) -> &'static str {
        "calls"
    }
}

fn log(call: &Call<'_>) {
    let is_noted = call.note(|noted| {
        noted.asks(format_args!("args={:x?}", call.notification().args)).notice = Notice::Record;
    });
    if is_noted {
        return;
    }
    tracing::info!(
        container = %call.container().id,
        syscall = %call.syscall(),
        arch = %call.syscall().arch,
        tid = call.tid(),
        args = ?call.notification().args,
        "a call was made",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Container, Notification};

    #[test]
    fn each_answers_with_what_it_says() {
        let (container, notification) = (Container::named("c"), Notification::sample("getppid"));
        let call = Call::new(&notification, &container);
        let second = Duration::from_secs(1);
        for (answer, verdict) in [
            (AnyCall::Continue, Verdict::Continue),
            (AnyCall::Log, Verdict::Continue),
            (AnyCall::Delay(second), Verdict::after(second, Verdict::Continue)),
            (AnyCall::Return(-7), Verdict::Return(-7)),
            (AnyCall::Errno(Errno::PERM), Verdict::Errno(Errno::PERM)),
            (AnyCall::Kill, Verdict::Kill),
        ] {
            assert_eq!(answer.handle(&call), verdict, "{answer:?}");
            assert_eq!(answer.may_block(), answer == AnyCall::Log);
        }
    }
}
