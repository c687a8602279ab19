use std::future::ready;
use std::sync::Arc;

use seccomp_agent_agent::{ResolveError, Resolver, Resolving};
use seccomp_agent_handlers::Audit;
use seccomp_agent_registry::{Container, Registry};

use crate::args::ResolverKind;
use crate::reload::CurrentPolicy;

/// The resolver that the configuration names.
pub(crate) enum Configured {
    None,
    DemoBasic,
    Policy(CurrentPolicy),
}

impl Configured {
    /// The resolver of this kind, with the policy that it may take.
    pub(crate) fn new(kind: ResolverKind, policy: Option<CurrentPolicy>) -> Self {
        match (kind, policy) {
            (ResolverKind::Policy, Some(policy)) => Self::Policy(policy),
            (ResolverKind::DemoBasic, _) => Self::DemoBasic,
            // Without a policy the resolver is no `policy`: the configuration has seen to that.
            (ResolverKind::None | ResolverKind::Policy, _) => Self::None,
        }
    }

    /// The registry for `container`.
    pub(crate) fn registry(&self, container: &Container) -> Result<Registry, ResolveError> {
        match self {
            Self::None => Ok(Registry::new()),
            Self::DemoBasic => {
                let mut registry = seccomp_agent_handlers::demo_basic(container);
                registry.layer(&Audit::of(container, None));
                Ok(registry)
            }
            Self::Policy(policy) => policy.resolve(container),
        }
    }
}

impl Resolver for Configured {
    fn resolve<'a>(&'a self, container: &'a Container) -> Resolving<'a> {
        Box::pin(ready(self.registry(container).map(Arc::new)))
    }

    fn asks_for_runtime(&self) -> bool {
        matches!(self, Self::Policy(policy) if policy.asks_for_runtime())
    }
}
