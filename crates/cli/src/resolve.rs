use std::future::ready;
use std::sync::Arc;

use seccomp_agent_agent::{ResolveError, Resolver, Resolving};
use seccomp_agent_handlers::{AnyCall, Audit};
use seccomp_agent_policy::{Fault, Policy};
use seccomp_agent_registry::{Container, Errno, Layer, Registry};

use crate::args::ResolverKind;
use crate::cluster::Cluster;
use crate::falco::Plugin;
use crate::reload::CurrentPolicy;
use crate::watching::Watching;

/// The resolver that the configuration names, and what is recorded beside it.
pub(crate) struct Configured {
    handlers: Handlers,
    recorded: Option<Recorded>,
    cluster: Option<Cluster>,
    falco: Plugin,
}

enum Handlers {
    None,
    DemoBasic,
    Policy(CurrentPolicy),
}

struct Recorded {
    watching: Arc<Watching>,
    /// Who is recorded where there is no other policy.
    asking: Policy,
}

/// Whoever asks for it is recorded.
const ASKING: &str = "
version: 1
rules:
  - name: asking to be recorded
    match: {}
    honour:
      metadata: [RECORD, COMPLAIN]
      annotations: [seccomp-agent/RECORD, seccomp-agent/COMPLAIN]
";

impl Configured {
    /// The resolver of this kind, with the policy that it may take.
    pub(crate) fn new(kind: ResolverKind, policy: Option<CurrentPolicy>) -> Self {
        let handlers = match (kind, policy) {
            (ResolverKind::Policy | ResolverKind::Kubernetes, Some(policy)) => Handlers::Policy(policy),
            (ResolverKind::DemoBasic, _) => Handlers::DemoBasic,
            // Without a policy the resolver is no `policy`: the configuration has seen to that.
            (ResolverKind::None | ResolverKind::Policy | ResolverKind::Kubernetes, _) => Handlers::None,
        };
        Self { handlers, recorded: None, cluster: None, falco: Plugin::default() }
    }

    /// The same, with Falco's plugin somewhere else.
    pub(crate) fn with_falco(self, falco: Plugin) -> Self {
        Self { falco, ..self }
    }

    /// The same, with what the cluster knows of a container's pod.
    pub(crate) fn in_cluster(self, cluster: Cluster) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    /// The same, with recordings: of whom the policy says, or without one of whoever asks.
    pub(crate) fn recording(self, watching: Arc<Watching>) -> Result<Self, Fault> {
        let recorded = Some(Recorded { watching, asking: Policy::parse(ASKING)? });
        Ok(Self { recorded, ..self })
    }

    /// Whether what only the cluster knows of a pod matters.
    fn asks_for_pod(&self, container: &Container) -> bool {
        match (&self.handlers, &self.recorded) {
            (Handlers::Policy(policy), _) => policy.asks_for_pod(container),
            (_, Some(Recorded { asking, .. })) => asking.asks_for_pod(container),
            _ => false,
        }
    }

    /// The registry for `container`.
    pub(crate) fn registry(&self, container: &Container) -> Result<Registry, ResolveError> {
        let mut tells_falco = false;
        let (mut registry, watch) = match &self.handlers {
            Handlers::None => (Registry::new(), None),
            Handlers::DemoBasic => {
                let mut registry = seccomp_agent_handlers::demo_basic(container);
                registry.layer(&Audit::of(container));
                (registry, None)
            }
            Handlers::Policy(policy) => {
                let resolved = policy.resolve(container)?;
                tells_falco = resolved.falco;
                (resolved.registry, Some(resolved.watch))
            }
        };
        let denies = watch.as_ref().is_some_and(|watch| watch.deny);
        match &self.recorded {
            Some(Recorded { watching, asking }) => {
                let watch =
                    watch.map_or_else(|| asking.resolve(container).map(|resolved| resolved.watch), Ok)?;
                watching.attach(&watch, container, &mut registry);
            }
            None if watch.is_some_and(|watch| watch.record.is_some() || watch.complain.is_some()) => {
                tracing::warn!(
                    container = container.id,
                    "not recorded: no directory for recordings was configured when this started"
                );
            }
            None => {}
        }
        if denies && !registry.has_otherwise() {
            // Violations are refused, whether or not anybody can be told of them.
            let refusing = Arc::new(AnyCall::Errno(Errno::PERM));
            registry.otherwise_shared(&Audit::of(container).wrap("", refusing));
        }
        if tells_falco {
            // Last: it is told of whatever anybody else answers.
            self.falco.attach(container, &mut registry);
        }
        Ok(registry)
    }
}

impl Resolver for Configured {
    fn resolve<'a>(&'a self, container: &'a Container) -> Resolving<'a> {
        let Some(cluster) = &self.cluster else {
            return Box::pin(ready(self.registry(container).map(Arc::new)));
        };
        Box::pin(async move {
            cluster.tell_pod(container, self.asks_for_pod(container)).await?;
            self.registry(container).map(Arc::new)
        })
    }

    fn unresolved(&self, container: &Container, mut fallback: Registry) -> Registry {
        fallback.layer(&Audit::of(container));
        fallback
    }

    fn asks_for_runtime(&self) -> bool {
        match &self.handlers {
            Handlers::Policy(policy) => policy.asks_for_runtime(),
            Handlers::None | Handlers::DemoBasic => self.recorded.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Call, Notification, Verdict};

    #[test]
    fn violations_are_refused_where_nobody_records_them() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let file = folder.path().join("policy.yaml");
        // Nor does it matter that Falco is told.
        for grant in ["{}", "{falco: true}"] {
            let rule = format!("{{name: strict, match: {{}}, complain: {{deny: true}}, grant: {grant}}}");
            std::fs::write(&file, format!("version: 1\nrules: [{rule}]\n")).unwrap();
            let policy = CurrentPolicy::read(&file).unwrap();
            let resolver = Configured::new(ResolverKind::Policy, Some(policy));
            let (notification, container) = (Notification::sample("getppid"), Container::named("c"));
            let registry = resolver.registry(&container).unwrap();
            let answer = registry.answer(&Call::new(&notification, &container));
            assert_eq!(answer, Verdict::Errno(Errno::PERM), "{grant}");
        }
    }

    #[test]
    fn without_a_policy_whoever_asks_is_recorded() {
        let asking = Policy::parse(ASKING).unwrap();
        let mut container = Container::named("c");
        assert!(asking.resolve(&container).unwrap().watch.record.is_none());
        container.metadata = "RECORD=web".to_owned();
        container.annotations.insert("seccomp-agent/COMPLAIN".to_owned(), "api".to_owned());
        let watch = asking.resolve(&container).unwrap().watch;
        assert_eq!(watch.record.map(|subject| subject.name.to_string()).as_deref(), Some("web"));
        assert_eq!(watch.complain.map(|subject| subject.name.to_string()).as_deref(), Some("api"));
        assert!(!watch.deny);
    }
}
