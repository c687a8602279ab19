//! Prometheus metrics: what the engine tells its observer, and how it is read.
//!
//! Counting must not lock and must not allocate, since it is on the path of every call. So each container has
//! arrays of atomics, indexed by system call and by verdict, made when the first call needs one; they become
//! labelled series only when somebody scrapes. A container's series go when its last listener ends; what they
//! had counted stays in the histogram, which has no container label.

mod address;
mod counts;
mod exposition;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use seccomp_agent_agent::{Meter, Observer};
use seccomp_agent_registry::{Container, Syscall};

pub(crate) use address::Address;
use counts::Counts;

use crate::watching::Violations;

/// All that is counted.
pub(crate) struct Metrics(Arc<Shared>);

struct Shared {
    /// Containers with at least one listener.
    containers: Mutex<BTreeMap<String, Weak<ContainerMeter>>>,
    /// What containers that have ended had counted.
    ended: Counts,
    listeners: AtomicU64,
    handshake_errors: Mutex<BTreeMap<&'static str, u64>>,
    violations: Violations,
    is_ready: AtomicBool,
}

/// The counters of a container, shared by its listeners: that of its init and those that `exec` adds.
struct ContainerMeter {
    id: String,
    counts: Counts,
    shared: Arc<Shared>,
}

/// One listener's hold on its container's counters.
struct ListenerMeter(Arc<ContainerMeter>);

impl Metrics {
    /// Nothing counted but violations, which others count.
    pub(crate) fn new(violations: Violations) -> Self {
        Self(Arc::new(Shared {
            containers: Mutex::default(),
            ended: Counts::default(),
            listeners: AtomicU64::new(0),
            handshake_errors: Mutex::default(),
            violations,
            is_ready: AtomicBool::new(false),
        }))
    }

    /// From here on runtimes find the agent.
    pub(crate) fn ready(&self) {
        self.0.is_ready.store(true, Ordering::Relaxed);
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        if self.0.is_ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not listening yet\n")
        }
    }

    /// What the engine tells.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Told(Arc::clone(&self.0)))
    }
}

/// Serves `http://address/metrics`, and `/readyz`, which is 503 until runtimes find the agent, for as long as the runtime
/// lives.
pub(crate) fn serve(address: Address, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let listener = address.listen().and_then(tokio::net::TcpListener::from_std);
    let listener = listener.with_context(|| format!("serving metrics on {address}"))?;
    let bound = listener.local_addr().with_context(|| format!("serving metrics on {address}"))?;
    let asked = Arc::clone(&metrics);
    let scrape = async move || ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::render(&metrics.0));
    let router =
        Router::new().route("/metrics", get(scrape)).route("/readyz", get(async move || asked.readiness()));
    tracing::info!(address = %bound, "serving metrics");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok(())
}

struct Told(Arc<Shared>);

impl Observer for Told {
    fn listener_added(&self, container: &Container) -> Arc<dyn Meter> {
        self.0.listeners.fetch_add(1, Ordering::Relaxed);
        let mut containers = self.0.containers();
        let known = containers.get(&container.id).and_then(Weak::upgrade);
        let meter = known.unwrap_or_else(|| {
            let meter = Arc::new(ContainerMeter {
                id: container.id.clone(),
                counts: Counts::default(),
                shared: Arc::clone(&self.0),
            });
            containers.insert(container.id.clone(), Arc::downgrade(&meter));
            meter
        });
        Arc::new(ListenerMeter(meter))
    }

    fn handshake_failed(&self, kind: &'static str) {
        *self.0.handshake_errors.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }
}

impl Meter for ListenerMeter {
    fn answered(&self, syscall: Syscall, verdict: &'static str, after: Duration) {
        self.0.counts.add(syscall, verdict, after);
    }
}

impl Drop for ListenerMeter {
    fn drop(&mut self) {
        self.0.shared.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ContainerMeter {
    fn drop(&mut self) {
        let mut containers = self.shared.containers();
        // Another container of the same name may have come meanwhile.
        if containers.get(&self.id).is_some_and(|meter| meter.strong_count() == 0) {
            containers.remove(&self.id);
        }
        self.shared.ended.absorb_latency(&self.counts);
    }
}

impl Shared {
    fn containers(&self) -> MutexGuard<'_, BTreeMap<String, Weak<ContainerMeter>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_once_runtimes_find_the_agent() {
        let metrics = Metrics::new(Violations::default());
        assert_eq!(metrics.readiness().0, StatusCode::SERVICE_UNAVAILABLE);
        metrics.ready();
        assert_eq!(metrics.readiness().0, StatusCode::OK);
    }
}
