//! What is written down of decisions while a test runs.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use seccomp_agent_handlers::Audit;
use seccomp_agent_registry::{Container, Registry};
use tracing_subscriber::fmt::MakeWriter;

/// Where records go.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

thread_local! {
    /// Where those of this thread go.
    static OWN: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Where the records of this thread go, if it has a log of its own.
pub(crate) fn own_log() -> Option<Log> {
    OWN.with_borrow(Clone::clone)
}

/// Has those of this thread go where another one's do.
pub(crate) fn log_to(log: Option<Log>) {
    OWN.set(log);
}

/// Takes those of all other threads.
struct Everywhere(Log);

impl MakeWriter<'_> for Everywhere {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        OWN.with_borrow(Clone::clone).unwrap_or_else(|| self.0.clone())
    }
}

/// The log of all threads that have none of their own. There is one subscriber for the whole process: of several,
/// each a thread's, one can be missed by what other threads have asked about first.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let format = tracing_subscriber::fmt().json().flatten_event(true).without_time();
        let subscriber = format.with_writer(Everywhere(log.clone())).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        // Who has asked just before that was told that there is none.
        tracing::callsite::rebuild_interest_cache();
        log
    })
}

/// The lines that this thread logs while `work` runs, as JSON, without their time.
pub(crate) fn logged(work: impl FnOnce()) -> Vec<String> {
    record(work).1.0
}

/// Runs `work`, and gives what this thread, which answers the calls of [`run`](super::run), writes down meanwhile.
pub(crate) fn record<T>(work: impl FnOnce() -> T) -> (T, Records) {
    log();
    let own = Log::default();
    OWN.set(Some(own.clone()));
    let outcome = work();
    OWN.set(None);
    (outcome, Records(own.lines()))
}

/// What threads that [`record`] nothing have written down since the first call, of the container of this id.
pub(crate) fn records_of(container: &str) -> Records {
    let of_container = format!("\"container\":{container:?}");
    Records(log().lines().into_iter().filter(|line| line.contains(&of_container)).collect())
}

/// The registry with an audit around it.
pub(crate) fn audited(mut registry: Registry) -> Registry {
    registry.layer(&Audit::of(&Container::named("test")));
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
