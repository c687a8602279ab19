use std::time::Instant;

use seccomp_agent_nsenter::{Caller, Error, Keeper};
use seccomp_agent_registry::{Call, Errno, ReadError, Verdict, WriteError};

use crate::limit::Limit;

/// Why an emulated call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// An argument could not be read.
    #[error("reading an argument failed: {0}")]
    Argument(#[from] ReadError),
    /// The answer could not be written into the caller's memory.
    #[error("writing the answer failed: {0}")]
    Answer(#[from] WriteError),
    /// Nothing could be done as the caller, or the kernel refused it.
    #[error(transparent)]
    Act(#[from] Error),
}

impl Failure {
    /// What to answer the caller.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Argument(error) => error.errno(),
            Self::Answer(error) => error.errno(),
            Self::Act(error) => error.errno(),
        }
    }

    /// Whether it is our failure, of which an operator should hear, and not the call's own result.
    pub const fn is_ours(self) -> bool {
        match self {
            Self::Argument(error) => matches!(error, ReadError::Denied { .. } | ReadError::Failed { .. }),
            Self::Answer(error) => matches!(error, WriteError::Denied { .. } | WriteError::Failed { .. }),
            Self::Act(error) => error.is_ours(),
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Act(Error::Call(errno))
    }
}

/// The answer that `deed` finds by doing something for the caller, or the error that it fails with. A caller
/// that is not visible in our pid namespace is refused with EPERM; nobody could act for it.
///
/// Failures of our own are [noted](Call::note), or, where nobody takes notes, logged: of many within seconds, of
/// all containers together, the first few, and how many were left out.
pub fn emulate(call: &Call<'_>, deed: impl FnOnce(&Call<'_>) -> Result<Verdict, Failure>) -> Verdict {
    let outcome = if call.tid() == 0 { Err(Error::Invisible.into()) } else { deed(call) };
    outcome.unwrap_or_else(|failure| {
        if failure.is_ours() && !call.note(|noted| noted.error = Some(failure.to_string())) {
            warn(call, failure);
        }
        Verdict::Errno(failure.errno())
    })
}

fn warn(call: &Call<'_>, failure: Failure) {
    static WARNINGS: Limit = Limit::of(MAX_WARNINGS);
    if let Some(left_out) = WARNINGS.one_more(Instant::now()) {
        tracing::warn!(
            container = %call.container().id,
            syscall = %call.syscall(),
            tid = call.tid(),
            error = %failure,
            left_out,
            "a call could not be emulated",
        );
    }
}

/// How many failures are logged in 10 s: enough to see what is wrong.
const MAX_WARNINGS: u32 = 10;

/// [`emulate`], as the caller and with what is granted to it. In a user namespace of its own, that is what is
/// granted there: a helper acts for it.
///
/// Where there can be no helper, the caller continues: the kernel does for it exactly what it may do itself.
pub fn emulate_for(
    call: &Call<'_>,
    deed: impl FnOnce(&Call<'_>, &Caller) -> Result<Verdict, Failure>,
) -> Verdict {
    emulate(call, |call| helped(call, deed(call, &open_caller(call)?)))
}

/// What came of a call whose caller a helper may have had to act for: it continues if there was none.
pub(crate) fn helped(call: &Call<'_>, outcome: Result<Verdict, Failure>) -> Result<Verdict, Failure> {
    match outcome {
        Err(failure @ Failure::Act(Error::NoHelper { .. })) => {
            warn(call, failure);
            Ok(Verdict::Continue)
        }
        done => done,
    }
}

/// The caller of a call, and the helper that acts for it if it is in a user namespace of its own.
pub fn open_caller(call: &Call<'_>) -> Result<Caller, Error> {
    let container = call.container();
    // Kept for as long as the listener is served.
    Caller::open_kept(call.tid(), &container.keep(|| Keeper::new(&container.id)))
}
