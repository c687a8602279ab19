use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Shared;
use super::counts::{BOUNDS, Latency};

/// What [`render`] writes: OpenMetrics 1.0, which Prometheus reads.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All series, as text.
pub(crate) fn render(shared: &Arc<Shared>) -> String {
    let mut registry = Registry::with_prefix("seccomp_agent");
    registry.register_collector(Box::new(Snapshot(Arc::clone(shared))));
    let mut text = String::new();
    // Writing to a string fails only if the encoder itself is used wrongly.
    let encoded = encode(&mut text, &registry);
    debug_assert!(encoded.is_ok());
    text
}

struct Snapshot(Arc<Shared>);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let shared = &self.0;
        let containers: Vec<_> = shared.containers().values().filter_map(std::sync::Weak::upgrade).collect();
        let mut latency = shared.ended.latency();

        let mut answers = encoder.encode_descriptor(
            "notifications",
            "Answered notifications",
            None,
            MetricType::Counter,
        )?;
        for container in &containers {
            for ((syscall, verdict), count) in container.counts.series() {
                let labels =
                    [("syscall", syscall), ("container", container.id.as_str()), ("verdict", verdict)];
                ConstCounter::new(count).encode(answers.encode_family(&labels)?)?;
            }
            latency.add(&container.counts.latency());
        }

        let mut histogram = encoder.encode_descriptor(
            "answer",
            "Time from receiving a notification to its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let buckets: Vec<_> = BOUNDS.iter().copied().chain([f64::INFINITY]).zip(latency.buckets).collect();
        histogram.encode_histogram::<[(&str, &str); 0]>(
            latency.seconds,
            latency.buckets.iter().sum(),
            &buckets,
            None,
        )?;

        let listeners =
            encoder.encode_descriptor("listeners", "Listeners being served", None, MetricType::Gauge)?;
        ConstGauge::new(shared.listeners.load(Ordering::Relaxed)).encode(listeners)?;

        let mut errors = encoder.encode_descriptor(
            "handshake_errors",
            "Connections that did not lead to a served listener",
            None,
            MetricType::Counter,
        )?;
        let kinds = shared.handshake_errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        for (kind, count) in kinds {
            ConstCounter::new(count).encode(errors.encode_family(&[("kind", kind)])?)?;
        }

        let mut violations = encoder.encode_descriptor(
            "violations",
            "Calls that the profile of a container in complain mode does not allow",
            None,
            MetricType::Counter,
        )?;
        for (name, count) in shared.violations.all() {
            ConstCounter::new(count).encode(violations.encode_family(&[("recording", name.as_str())])?)?;
        }
        Ok(())
    }
}

impl Latency {
    fn add(&mut self, other: &Latency) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.seconds += other.seconds;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seccomp_agent_notify::Arch;
    use seccomp_agent_registry::{Container, Syscall};

    use super::super::Metrics;
    use super::*;
    use crate::watching::Violations;

    #[test]
    fn a_containers_series_come_with_its_first_listener_and_go_with_its_last() {
        let metrics = Metrics::new(Violations::default());
        let observer = metrics.observer();
        let init = observer.listener_added(&Container::named("web"));
        let exec = observer.listener_added(&Container::named("web"));
        let mkdir = Syscall::named(Arch::native(), "mkdirat").unwrap();
        init.answered(mkdir, "return", Duration::from_micros(30));
        exec.answered(mkdir, "return", Duration::from_micros(30));
        observer.handshake_failed("closed");
        let series =
            r#"seccomp_agent_notifications_total{syscall="mkdirat",container="web",verdict="return"} 2"#;

        let text = render(&metrics.0);
        assert!(text.contains(series), "{text}");
        assert!(text.contains(r#"seccomp_agent_answer_seconds_bucket{le="+Inf"} 2"#), "{text}");
        assert!(text.contains("seccomp_agent_listeners 2"), "{text}");
        assert!(text.contains(r#"seccomp_agent_handshake_errors_total{kind="closed"} 1"#), "{text}");
        assert!(text.contains(r#"seccomp_agent_answer_seconds_bucket{le="0.00005"} 2"#), "{text}");

        drop(init);
        assert!(render(&metrics.0).contains(series));
        drop(exec);
        let text = render(&metrics.0);
        assert!(!text.contains("web") && text.contains("seccomp_agent_listeners 0"), "{text}");
        assert!(text.contains("seccomp_agent_answer_seconds_count 2"), "{text}");
    }
}
