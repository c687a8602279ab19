use std::sync::Arc;

use crate::call::Call;
use crate::container::Container;
use crate::verdict::Verdict;

/// Answers calls. A closure `Fn(&Call) -> Verdict` is one.
pub trait Handler: Send + Sync {
    /// Decides about one call. Runs on the worker that received it.
    fn handle(&self, call: &Call<'_>) -> Verdict;

    /// Whether [`handle`](Self::handle) can wait for anything. Reading an argument can: a page of the caller's
    /// memory may be one that another thread of it supplies when it likes. If so, and if it takes long, the
    /// container's other calls are given to another worker. Only a handler that decides by the notification
    /// alone should say no: it saves a few nanoseconds.
    fn may_block(&self) -> bool {
        true
    }

    /// What records of decisions call it.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// A listener that this handler has answered calls of has ended: each of its calls has been answered, and
    /// there will be no more. `container` is the same object that the calls referred to; other listeners of the
    /// same container, which `exec` adds, may live on. Must return soon: it holds up a worker.
    fn ended(&self, container: &Container) {
        let _ = container;
    }
}

impl<F: Fn(&Call<'_>) -> Verdict + Send + Sync> Handler for F {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self(call)
    }
}

/// Wraps handlers, to do something before or after all of them alike.
pub trait Layer {
    /// The handler that stands in the place of `inner` for the system call `name`, which is empty for the one that
    /// answers whatever has no handler of its own. It need not pass [`Handler::ended`] on: the registry tells both.
    fn wrap(&self, name: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler>;
}
