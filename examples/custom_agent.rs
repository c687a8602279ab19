//! An agent of your own: it lets the disks of chosen containers fail now and then, to see what their programs do.
//! Explained step by step in `docs/custom-agent.md`.
//!
//! `cargo run --example custom-agent -- /run/my-agent.socket`

use std::error::Error;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seccomp_agent_agent::{Agent, ResolveError};
use seccomp_agent_registry::{Call, Container, Errno, Handler, Registry, Verdict};

/// The annotation by which a container asks for it: how many syncs it takes until one fails.
const ANNOTATION: &str = "example.com/fail-every";

/// The handler: every `n`th sync fails as that of a broken disk would.
struct FailEvery {
    n: NonZeroU64,
    calls: AtomicU64,
}

impl Handler for FailEvery {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        let count = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if !count.is_multiple_of(self.n.get()) {
            return Verdict::Continue;
        }
        tracing::info!(container = call.container().id, syscall = %call.syscall(), count, "fails");
        Verdict::Errno(Errno::IO)
    }

    /// It looks at nothing but the notification.
    fn may_block(&self) -> bool {
        false
    }
}

/// The resolver: which handlers a container gets.
fn resolve(container: &Container) -> Result<Registry, ResolveError> {
    let mut registry = Registry::new();
    let Some(asked) = container.annotations.get(ANNOTATION) else { return Ok(registry) };
    let n = asked.parse().map_err(|error| format!("{ANNOTATION}={asked:?}: {error}"))?;
    let handler: Arc<dyn Handler> = Arc::new(FailEvery { n, calls: AtomicU64::new(0) });
    for name in ["fsync", "fdatasync", "syncfs"] {
        registry.on_shared(name, &handler)?;
    }
    Ok(registry)
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let socket = std::env::args().nth(1).ok_or("usage: custom-agent SOCKET")?;
    Agent::new(resolve).run(socket)?;
    Ok(())
}
