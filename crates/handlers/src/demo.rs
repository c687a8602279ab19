use std::sync::Arc;
use std::time::Duration;

use seccomp_agent_registry::{Container, Errno, Handler, Registry};

use crate::any_call::AnyCall;
use crate::directories::Directories;
use crate::executions::Executions;
use crate::mount::Mount;
use crate::pattern::Pattern;

/// A registry that shows what handlers can do, and is of no other use:
///
/// - directories get the suffix `-pid-N`, N being the container's init;
/// - changing a file's mode fails with EBADMSG;
/// - a new procfs can be mounted without `CAP_SYS_ADMIN`;
/// - `/bin/true` starts two seconds late.
pub fn demo_basic(container: &Container) -> Registry {
    let mut registry = Registry::new();
    let suffix = format!("-pid-{}", container.init_pid);
    on_all(&mut registry, &["mkdir", "mkdirat"], Directories::with_suffix(suffix));
    on_all(&mut registry, &["chmod", "fchmod", "fchmodat", "fchmodat2"], AnyCall::Errno(Errno::BADMSG));
    on_all(&mut registry, Mount::CALLS, Mount::procfs());
    let delay = Executions::new().delaying(Pattern::new("/bin/true"), Duration::from_secs(2));
    on_all(&mut registry, &["execve", "execveat"], delay);
    registry
}

/// Lets a handler answer those of a family's calls that this machine has: newer architectures lack the older
/// ones.
fn on_all(registry: &mut Registry, names: &[&str], handler: impl Handler + 'static) {
    let handler: Arc<dyn Handler> = Arc::new(handler);
    for name in names {
        // A name that this machine lacks is none that a container can call.
        let _ = registry.on_shared(name, &handler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Call, Notification, Verdict};

    #[test]
    fn the_demo_answers_its_families_and_lets_the_rest_go_on() {
        let container = Container::named("demo");
        let registry = demo_basic(&container);
        for (name, verdict) in [
            ("fchmod", Verdict::Errno(Errno::BADMSG)),
            ("fchmodat2", Verdict::Errno(Errno::BADMSG)),
            ("getppid", Verdict::Continue),
            // Nobody can act for a caller that is not visible.
            ("mkdirat", Verdict::Errno(Errno::PERM)),
        ] {
            let notification = Notification::sample(name);
            assert_eq!(registry.answer(&Call::new(&notification, &container)), verdict, "{name}");
        }
        assert!(registry.names().is_superset(&["mkdirat", "mount", "fsopen", "execve", "execveat"].into()));
    }
}
