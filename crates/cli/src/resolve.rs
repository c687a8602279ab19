use seccomp_agent_agent::ResolveError;
use seccomp_agent_registry::{Container, Registry};

use crate::args::ResolverKind;

/// The resolver of this kind.
pub(crate) fn by(kind: ResolverKind) -> impl Fn(&Container) -> Result<Registry, ResolveError> + Send + Sync {
    move |container| match kind {
        ResolverKind::None => Ok(Registry::new()),
        ResolverKind::DemoBasic => Ok(seccomp_agent_handlers::demo_basic(container)),
    }
}
