//! The policy that counts now: read at the start, and again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use seccomp_agent_agent::ResolveError;
use seccomp_agent_policy::{Policy, PolicyError, Resolved};
use seccomp_agent_registry::Container;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How often to look for a change. Looking sees what watching an inode does not: a file that is replaced, and the
/// links by which Kubernetes swaps the files of a `ConfigMap`.
const INTERVAL: Duration = Duration::from_millis(500);

/// Refused requests that are named in a container's line of the log.
const LOGGED_REQUESTS: usize = 8;

/// The policy that counts now. New containers get what it says; those that are served keep what they have.
#[derive(Debug)]
pub(crate) struct CurrentPolicy(watch::Receiver<Arc<Policy>>);

impl CurrentPolicy {
    /// The policy as it is now, for good.
    pub(crate) fn read(path: &Path) -> Result<Self, PolicyError> {
        Ok(Self(watch::channel(Arc::new(Policy::read(path)?)).1))
    }

    /// Reads the policy, and from then on follows it. Takes a tokio runtime.
    pub(crate) fn follow(path: &Path) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
        let stamp = Stamp::of(path);
        let policy = Policy::read(path)?;
        tracing::info!(policy = %path.display(), rules = policy.rules(), "policy read");
        let (sender, receiver) = watch::channel(Arc::new(policy));
        tokio::spawn(follow(path.to_owned(), stamp, hangup, sender));
        Ok(Self(receiver))
    }

    /// Whether containers may be recorded.
    pub(crate) fn records(&self) -> bool {
        self.0.borrow().records()
    }

    /// Whether it looks at the runtime.
    pub(crate) fn asks_for_runtime(&self) -> bool {
        self.0.borrow().asks_for_runtime()
    }

    /// Whether it looks at what only the cluster knows of the container's pod.
    pub(crate) fn asks_for_pod(&self, container: &Container) -> bool {
        self.0.borrow().asks_for_pod(container)
    }

    /// What `container` gets. Says in the log which rule it is and what was asked for in vain.
    pub(crate) fn resolve(&self, container: &Container) -> Result<Resolved, ResolveError> {
        let policy = Arc::clone(&self.0.borrow());
        let resolved = policy.resolve(container)?;
        let explanation = &resolved.explanation;
        tracing::info!(container = container.id, rule = explanation.rule, "rule found");
        let refused: Vec<_> =
            explanation.refused().take(LOGGED_REQUESTS).map(|request| request.key.as_str()).collect();
        if !refused.is_empty() {
            tracing::warn!(
                container = container.id,
                rule = explanation.rule,
                requests = ?refused,
                "asks for what is not honoured"
            );
        }
        Ok(resolved)
    }
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// `None` while there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (data.dev(), data.ino()),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

async fn follow(
    path: PathBuf,
    mut loaded: Option<Stamp>,
    mut hangup: Signal,
    policy: watch::Sender<Arc<Policy>>,
) {
    let mut seen = loaded;
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => true,
            () = tokio::time::sleep(INTERVAL) => false,
            () = policy.closed() => return,
        };
        let Some((stamp, read)) = look(path.clone(), asked, loaded, seen).await else { return };
        seen = stamp;
        match read {
            None => continue,
            Some(Ok(new)) => {
                tracing::info!(policy = %path.display(), rules = new.rules(), "policy read again");
                policy.send_replace(Arc::new(new));
            }
            Some(Err(error)) => tracing::error!(%error, "the old policy stays"),
        }
        loaded = stamp;
    }
}

/// The file's stamp, and its policy if it was `asked` for or has changed since it was `loaded`. A file that has
/// changed since it was last `seen` may still be being written. `None` if the runtime is ending.
async fn look(
    path: PathBuf,
    asked: bool,
    loaded: Option<Stamp>,
    seen: Option<Stamp>,
) -> Option<(Option<Stamp>, Option<Result<Policy, PolicyError>>)> {
    // Files can be slow; connections are not to wait for them.
    let looked = tokio::task::spawn_blocking(move || {
        let stamp = Stamp::of(&path);
        let is_due = asked || (stamp != loaded && stamp == seen);
        (stamp, is_due.then(|| Policy::read(&path)))
    });
    looked.await.ok()
}
