use seccomp_agent_agent::ResolveError;
use seccomp_agent_handlers::Audit;
use seccomp_agent_registry::{Container, Registry};

use crate::args::ResolverKind;
use crate::reload::CurrentPolicy;

/// The resolver of this kind, with the policy that it may take.
pub(crate) fn by(
    kind: ResolverKind,
    policy: Option<CurrentPolicy>,
) -> impl Fn(&Container) -> Result<Registry, ResolveError> + Send + Sync {
    move |container| match (kind, &policy) {
        (ResolverKind::Policy, Some(policy)) => policy.resolve(container),
        (ResolverKind::DemoBasic, _) => {
            let mut registry = seccomp_agent_handlers::demo_basic(container);
            registry.layer(&Audit::of(container, None));
            Ok(registry)
        }
        // Without a policy the resolver is no `policy`: the configuration has seen to that.
        (ResolverKind::None | ResolverKind::Policy, _) => Ok(Registry::new()),
    }
}
