use std::sync::Arc;

use seccomp_agent_registry::{Call, Container, Errno, Handler, Verdict};

use crate::callers::look;
use crate::listening::Listening;
use crate::seen::FirstCaller;

/// What becomes of calls that a container's profile does not allow, and who is told.
#[derive(Clone)]
pub struct Complaint {
    denied: bool,
    report: Arc<dyn Fn(&Violation<'_>) + Send + Sync>,
}

/// A call that the profile does not allow.
#[derive(Debug)]
pub struct Violation<'a> {
    /// The call.
    pub call: &'a Call<'a>,
    /// How often this call was made so far in this run, this one included.
    pub count: u64,
    /// Whether it fails; else it continues.
    pub denied: bool,
}

impl Complaint {
    /// The calls continue; `report` is told of each, before it has its answer.
    pub fn new(report: impl Fn(&Violation<'_>) + Send + Sync + 'static) -> Self {
        Self { denied: false, report: Arc::new(report) }
    }

    /// The calls fail with EPERM, as under a profile with the usual default action.
    #[must_use]
    pub fn denying(self, denied: bool) -> Self {
        Self { denied, ..self }
    }
}

impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Complaint").field("denied", &self.denied).finish_non_exhaustive()
    }
}

impl Violation<'_> {
    /// Whether it is the first of this call, the tenth, the hundredth and so on: a container that makes one in a loop
    /// is to fill nobody's log.
    pub fn is_notable(&self) -> bool {
        let mut count = self.count;
        while count >= 10 && count.is_multiple_of(10) {
            count /= 10;
        }
        count == 1
    }

    /// Who makes it, if that can be told; looked up in `/proc`.
    pub fn caller(&self) -> Option<FirstCaller> {
        look(self.call)
    }
}

/// Answers what the profile leaves to the agent and nobody else answers.
pub(crate) struct Complaining {
    pub(crate) listening: Listening,
    pub(crate) complaint: Complaint,
}

impl Handler for Complaining {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        let count = self.listening.count(call);
        (self.complaint.report)(&Violation { call, count, denied: self.complaint.denied });
        if self.complaint.denied { Verdict::Errno(Errno::PERM) } else { Verdict::Continue }
    }

    fn name(&self) -> &'static str {
        "complain"
    }

    fn ended(&self, container: &Container) {
        self.listening.ended(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::Notification;

    #[test]
    fn of_a_flood_few_are_notable() {
        let (notification, container) = (Notification::sample("getppid"), Container::named("c"));
        let call = Call::new(&notification, &container);
        let is_notable = |count: &u64| Violation { call: &call, count: *count, denied: false }.is_notable();
        assert_eq!((0..=10_000).filter(is_notable).collect::<Vec<_>>(), [1, 10, 100, 1000, 10_000]);
    }
}
