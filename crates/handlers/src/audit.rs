use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno as Name;
use seccomp_agent_registry::{
    Call, Container, Errno, Excerpt, Handler, Layer, Noted, Notes, Notice, Verdict,
};
use tracing::Level;

use crate::limit::Limit;

/// A layer that writes a record of every decision of one container's handlers which is not that a call just
/// continues: a `tracing` event with the target `audit`.
///
/// | field | is |
/// |---|---|
/// | `container`, `name` | the container's id; its name in its pod, if known |
/// | `namespace`, `pod` | its pod's, if known |
/// | `tid` | the calling thread; 0 if it is not visible |
/// | `syscall`, `handler` | what was called, who decided |
/// | `decision` | `granted`, `refused`, `failed`, `delayed`, `killed`, `logged` or `alert` |
/// | `path`, `asked` | what was asked for, as the handler has read it; cut in its middle, escaped |
/// | `why` | what the decision rests on |
/// | `value`, `errno`, `delay` | what the call returns, fails with, waits for |
/// | `error` | what went wrong on the agent's side |
/// | `left_out` | how many records of the same decision were left out before this one |
///
/// `failed` and `alert` are warnings, the rest is for information. Of each decision, 100 records are written in
/// 10 s, so that a flood of one kind does not hide the others; the last record of a container, if need be, says how
/// many were left out at its end.
///
/// A record is written when the handler has come back, so never by a thread that acts as a caller, and before
/// the call has its answer. Where nobody listens to `audit`, handlers are asked as if there was no layer.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Account>);

/// How many records of each decision are written in 10 s.
const MAX_RECORDS: u32 = 100;

/// What all handlers of a container share.
#[derive(Debug)]
struct Account {
    container: String,
    name: Option<String>,
    limits: [Limit; DECISIONS.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Granted,
    Refused,
    Failed,
    Delayed,
    Killed,
    Logged,
    Alert,
}

const DECISIONS: [Decision; 7] = [
    Decision::Granted,
    Decision::Refused,
    Decision::Failed,
    Decision::Delayed,
    Decision::Killed,
    Decision::Logged,
    Decision::Alert,
];

impl Audit {
    /// The audit of this container.
    pub fn of(container: &Container) -> Self {
        let limits = [const { Limit::of(MAX_RECORDS) }; DECISIONS.len()];
        let name = container.name().map(str::to_owned);
        Self(Arc::new(Account { container: container.id.clone(), name, limits }))
    }
}

impl Layer for Audit {
    fn wrap(&self, _syscall: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Audited { account: Arc::clone(&self.0), handler: inner })
    }
}

struct Audited {
    account: Arc<Account>,
    handler: Arc<dyn Handler>,
}

impl Handler for Audited {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        decide(&self.account, self.handler.name(), call, |call| self.handler.handle(call))
    }

    fn name(&self) -> &'static str {
        self.handler.name()
    }
}

/// Asks `handler`, and writes down what it says; of what it says later, when it does.
fn decide(
    account: &Arc<Account>,
    name: &'static str,
    call: &Call<'_>,
    handler: impl FnOnce(&Call<'_>) -> Verdict,
) -> Verdict {
    if !tracing::event_enabled!(target: "audit", Level::WARN) {
        return handler(call);
    }
    let notes = Notes::new();
    match handler(&call.noted_in(&notes)) {
        Verdict::Later(work) => {
            let account = Arc::clone(account);
            Verdict::later(move |call| decide(&account, name, call, work))
        }
        verdict => {
            account.record(name, call, &verdict, &notes.into_inner());
            verdict
        }
    }
}

impl Account {
    fn record(&self, handler: &'static str, call: &Call<'_>, verdict: &Verdict, noted: &Noted) {
        let Some(decision) = Decision::of(verdict, noted) else { return };
        let Some(left_out) = self.limits[decision as usize].one_more(Instant::now()) else { return };
        let (mut value, mut errno, mut delay) = (None, None, None);
        match verdict {
            Verdict::Return(returned) => value = Some(*returned),
            Verdict::Errno(error) => errno = Some(*error),
            Verdict::After(span, _) => delay = Some(*span),
            _ => {}
        }
        let (path, asked) = (shown(&noted.path), shown(&noted.asked));
        let (namespace, pod) = call.container().pod_names();
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(
                    target: "audit",
                    $level,
                    container = self.container,
                    name = self.name,
                    namespace,
                    pod,
                    tid = call.tid(),
                    syscall = %call.syscall(),
                    handler,
                    decision = decision.name(),
                    path = path.as_deref(),
                    asked = asked.as_deref(),
                    why = noted.why,
                    value,
                    errno = errno.map(named),
                    delay = delay.map(tracing::field::debug::<Duration>),
                    error = noted.error,
                    left_out = (left_out > 0).then_some(left_out),
                    "decision",
                )
            };
        }
        if matches!(decision, Decision::Failed | Decision::Alert) {
            write!(Level::WARN);
        } else {
            write!(Level::INFO);
        }
    }
}

impl Drop for Account {
    /// The container has ended, and nothing more will tell what was left out.
    fn drop(&mut self) {
        for (decision, limit) in DECISIONS.iter().zip(&self.limits) {
            let left_out = limit.left_out();
            if left_out > 0 {
                tracing::info!(
                    target: "audit",
                    container = self.container,
                    name = self.name,
                    decision = decision.name(),
                    left_out,
                    "decisions left out",
                );
            }
        }
    }
}

impl Decision {
    /// `None` for what need not be told.
    fn of(verdict: &Verdict, noted: &Noted) -> Option<Self> {
        match (noted.notice, verdict) {
            (Notice::Alert, _) => Some(Self::Alert),
            (_, Verdict::Errno(_)) if noted.error.is_some() => Some(Self::Failed),
            (_, Verdict::Errno(_)) => Some(Self::Refused),
            (_, Verdict::Return(_)) => Some(Self::Granted),
            (_, Verdict::Kill) => Some(Self::Killed),
            (_, Verdict::After(..)) => Some(Self::Delayed),
            (Notice::Record, _) => Some(Self::Logged),
            (Notice::None, _) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Killed => "killed",
            Self::Logged => "logged",
            Self::Alert => "alert",
        }
    }
}

/// As a string, which a log in text puts in quotes: nothing in it is to look like another field.
fn shown(text: &Excerpt) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

/// An error as `errno(3)` calls it.
fn named(errno: Errno) -> impl tracing::Value {
    struct Named(i32);
    impl fmt::Display for Named {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match Name::from_raw(self.0) {
                Name::UnknownErrno => write!(f, "{}", self.0),
                name => write!(f, "{name:?}"),
            }
        }
    }
    tracing::field::display(Named(errno.raw_os_error()))
}
