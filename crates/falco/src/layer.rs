use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use seccomp_agent_registry::{Call, Handler, Layer, Verdict};

use crate::event::{PublishEventRequest, Workload};
use crate::publisher::Falco;

/// A layer that tells Falco of every call of one container that a handler is asked about.
#[derive(Clone, Debug)]
pub struct FalcoLayer {
    falco: Falco,
    workload: Arc<Workload>,
    /// How many of its events wait.
    waiting: Arc<AtomicUsize>,
}

impl FalcoLayer {
    pub(crate) fn new(falco: Falco, workload: Workload) -> Self {
        Self { falco, workload: Arc::new(workload), waiting: Arc::default() }
    }
}

impl Layer for FalcoLayer {
    fn wrap(&self, _syscall: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Told { to: self.clone(), handler: inner })
    }
}

struct Told {
    to: FalcoLayer,
    handler: Arc<dyn Handler>,
}

impl Handler for Told {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self.to.falco.publish(&self.to.waiting, || PublishEventRequest::of(call, &self.to.workload));
        self.handler.handle(call)
    }

    fn may_block(&self) -> bool {
        self.handler.may_block()
    }

    fn name(&self) -> &'static str {
        self.handler.name()
    }
}

impl Falco {
    /// The layer for the handlers of one container of this workload.
    pub fn layer(&self, workload: Workload) -> FalcoLayer {
        FalcoLayer::new(self.clone(), workload)
    }
}
