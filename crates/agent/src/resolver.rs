use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use seccomp_agent_registry::{Container, Registry};

/// Says which handlers a container gets.
///
/// Asked once for each listener, before its first notification is answered: until then the container's init is
/// blocked. So a resolver that has to ask somebody else has a deadline, and should answer from what it knows.
/// A closure `Fn(&Container) -> Result<Registry, ResolveError>` is a resolver; like any future it must not block
/// the thread.
pub trait Resolver: Send + Sync {
    /// The registry for `container`.
    fn resolve<'a>(&'a self, container: &'a Container) -> Resolving<'a>;

    /// What `container` gets that could not be resolved: the fallback's registry, to which layers may be added.
    fn unresolved(&self, _container: &Container, fallback: Registry) -> Registry {
        fallback
    }

    /// Whether it looks at [`Container::runtime`]. Finding that out takes longer than anything else in serving a
    /// container, so it stays `None` for a resolver that does not ask.
    fn asks_for_runtime(&self) -> bool {
        true
    }
}

/// A resolver's answer, on its way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Arc<Registry>, ResolveError>> + Send + 'a>>;

/// Why a resolver has no registry for a container: whatever its own errors are.
pub type ResolveError = Box<dyn std::error::Error + Send + Sync>;

impl<F> Resolver for F
where
    F: Fn(&Container) -> Result<Registry, ResolveError> + Send + Sync,
{
    fn resolve<'a>(&'a self, container: &'a Container) -> Resolving<'a> {
        Box::pin(ready(self(container).map(Arc::new)))
    }
}
