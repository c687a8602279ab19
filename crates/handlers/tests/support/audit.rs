//! What is written down of decisions while a test runs.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use seccomp_agent_handlers::Audit;
use seccomp_agent_registry::{Container, Registry};
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

/// Where records go.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// As JSON, without their time.
    fn subscriber(&self) -> impl Into<Dispatch> {
        let format = tracing_subscriber::fmt().json().flatten_event(true).without_time();
        format.with_writer(self.clone()).finish()
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// The lines that this thread logs while `work` runs.
pub(crate) fn logged(work: impl FnOnce()) -> Vec<String> {
    record(work).1.0
}

/// Runs `work`, and gives what this thread, which answers the calls of [`run`](super::run), writes down meanwhile.
pub(crate) fn record<T>(work: impl FnOnce() -> T) -> (T, Records) {
    let log = Log::default();
    let outcome = tracing::dispatcher::with_default(&log.subscriber().into(), work);
    (outcome, Records(log.lines()))
}

/// What all threads of this process have written down since the first call, of the container of this id.
pub(crate) fn records_of(container: &str) -> Records {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        tracing::dispatcher::set_global_default(log.subscriber().into()).unwrap();
        log
    });
    let of_container = format!("\"container\":{container:?}");
    Records(log.lines().into_iter().filter(|line| line.contains(&of_container)).collect())
}

/// The registry with an audit around it.
pub(crate) fn audited(mut registry: Registry) -> Registry {
    registry.layer(&Audit::of(&Container::named("test"), None));
    registry
}

/// Records of decisions.
#[derive(Debug)]
pub(crate) struct Records(Vec<String>);

impl Records {
    /// How many have each of these fields. A value that ends in `*` stands for all that begin so.
    pub(crate) fn count(&self, fields: &[(&str, &str)]) -> usize {
        let has = |line: &&String| {
            fields.iter().all(|(name, value)| match value.strip_suffix('*') {
                Some(begin) => line.contains(&format!("\"{name}\":\"{begin}")),
                None => line.contains(&format!("\"{name}\":\"{value}\"")),
            })
        };
        self.0.iter().filter(has).count()
    }

    /// That there is one that says that something was refused, with these fields.
    #[track_caller]
    pub(crate) fn assert_refused(&self, fields: &[(&str, &str)]) {
        let refused = self.count(&[&[("decision", "refused")], fields].concat());
        assert!(refused > 0, "nothing is written down of {fields:?}: {self:#?}");
    }
}
