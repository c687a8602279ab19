//! Handlers that do for a container what it may not do itself.
use seccomp_agent_registry::{Container, Registry};

/// The registry that every container gets under `--resolver demo-basic`.
pub fn demo_basic(_container: &Container) -> Registry {
    Registry::new()
}
