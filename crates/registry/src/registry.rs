use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use seccomp_agent_notify::{Arch, Syscall};

use crate::call::Call;
use crate::container::Container;
use crate::handler::{Handler, Layer};
use crate::verdict::Verdict;

/// The handlers of one container, or of all containers of a kind.
///
/// A call that has no handler continues: a profile may notify more than anybody wants to answer.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: HashMap<Syscall, Arc<dyn Handler>>,
    otherwise: Option<Arc<dyn Handler>>,
    /// What layers have been put around.
    wrapped: Vec<Arc<dyn Handler>>,
}

/// No architecture of this machine has a system call of that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine has no system call named {name:?}")]
pub struct UnknownSyscall {
    /// The name.
    pub name: String,
}

impl Registry {
    /// An empty registry: everything continues.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `handler` answer the call `name` on every architecture of this machine that has it, in place of
    /// whoever answered it before.
    pub fn on(&mut self, name: &str, handler: impl Handler + 'static) -> Result<&mut Self, UnknownSyscall> {
        self.on_shared(name, &(Arc::new(handler) as Arc<dyn Handler>))
    }

    /// [`on`](Self::on), for a handler that answers several calls.
    pub fn on_shared(&mut self, name: &str, handler: &Arc<dyn Handler>) -> Result<&mut Self, UnknownSyscall> {
        let family = Arch::native().family();
        let calls: Vec<_> = family.iter().filter_map(|arch| Syscall::named(*arch, name)).collect();
        if calls.is_empty() {
            return Err(UnknownSyscall { name: name.to_owned() });
        }
        self.handlers.extend(calls.into_iter().map(|call| (call, Arc::clone(handler))));
        Ok(self)
    }

    /// Lets `handler` answer every call that has no handler of its own.
    pub fn otherwise(&mut self, handler: impl Handler + 'static) -> &mut Self {
        self.otherwise = Some(Arc::new(handler));
        self
    }

    /// [`otherwise`](Self::otherwise), for a handler that is shared.
    pub fn otherwise_shared(&mut self, handler: &Arc<dyn Handler>) -> &mut Self {
        self.otherwise = Some(Arc::clone(handler));
        self
    }

    /// Whether a call that has no handler of its own is answered by [another one](Self::otherwise).
    pub fn has_otherwise(&self) -> bool {
        self.otherwise.is_some()
    }

    /// Wraps all handlers in a layer; the last one added sees a call first.
    pub fn layer(&mut self, layer: &dyn Layer) -> &mut Self {
        for (call, handler) in &mut self.handlers {
            let outer = layer.wrap(call.name().unwrap_or_default(), Arc::clone(handler));
            self.wrapped.push(std::mem::replace(handler, outer));
        }
        if let Some(handler) = &mut self.otherwise {
            let outer = layer.wrap("", Arc::clone(handler));
            self.wrapped.push(std::mem::replace(handler, outer));
        }
        self
    }

    /// The handler of a call, if anybody wants it.
    pub fn find(&self, syscall: Syscall) -> Option<&dyn Handler> {
        self.handlers.get(&syscall).or(self.otherwise.as_ref()).map(AsRef::as_ref)
    }

    /// What the registry says to a call.
    pub fn answer(&self, call: &Call<'_>) -> Verdict {
        self.find(call.syscall()).map_or(Verdict::Continue, |handler| handler.handle(call))
    }

    /// Tells each handler once, those inside layers too, that a listener has [ended](Handler::ended).
    pub fn ended(&self, container: &Container) {
        let mut told = BTreeSet::new();
        for handler in self.handlers.values().chain(&self.otherwise).chain(&self.wrapped) {
            if told.insert(Arc::as_ptr(handler).cast::<()>()) {
                handler.ended(container);
            }
        }
    }

    /// The names of the calls that have a handler of their own, sorted.
    pub fn names(&self) -> BTreeSet<&'static str> {
        self.handlers.keys().filter_map(|call| call.name()).collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("names", &self.names())
            .field("otherwise", &self.otherwise.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_notify::{Errno, Notification};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn ask(registry: &Registry, arch: Arch, name: &str) -> Verdict {
        let mut notification = Notification::sample(name);
        notification.syscall = Syscall::named(arch, name).unwrap();
        registry.answer(&Call::new(&notification, &Container::named("c")))
    }

    #[test]
    fn a_call_without_a_handler_continues() {
        assert_eq!(ask(&Registry::new(), Arch::native(), "getppid"), Verdict::Continue);
    }

    #[test]
    fn a_name_is_answered_on_every_architecture_of_the_machine() {
        let mut registry = Registry::new();
        registry.on("mkdirat", |_: &Call<'_>| Verdict::Errno(Errno::PERM)).unwrap();
        for arch in Arch::native().family() {
            assert_eq!(ask(&registry, *arch, "mkdirat"), Verdict::Errno(Errno::PERM), "{arch}");
        }
    }

    #[test]
    fn a_misspelt_name_is_refused() {
        let refused = Registry::new().on("mkdirr", |_: &Call<'_>| Verdict::Continue).map(|_| ());
        assert_eq!(refused, Err(UnknownSyscall { name: "mkdirr".into() }));
    }

    #[test]
    fn the_last_layer_sees_a_call_first() {
        struct Plus(i64);
        impl Layer for Plus {
            fn wrap(&self, _: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
                let digit = self.0;
                Arc::new(move |call: &Call<'_>| match inner.handle(call) {
                    Verdict::Return(value) => Verdict::Return(value * 10 + digit),
                    other => other,
                })
            }
        }
        let mut registry = Registry::new();
        registry.on("getppid", |_: &Call<'_>| Verdict::Return(1)).unwrap();
        registry.otherwise(|_: &Call<'_>| Verdict::Return(4));
        registry.layer(&Plus(2)).layer(&Plus(3));
        assert_eq!(ask(&registry, Arch::native(), "getppid"), Verdict::Return(123));
        assert_eq!(ask(&registry, Arch::native(), "getpid"), Verdict::Return(423));
    }

    #[test]
    fn each_handler_is_told_once_of_a_listeners_end_inside_layers_too() {
        #[derive(Default)]
        struct Counts(AtomicU32);
        impl Handler for Counts {
            fn handle(&self, _: &Call<'_>) -> Verdict {
                Verdict::Continue
            }
            fn ended(&self, container: &Container) {
                assert_eq!(container.id, "c");
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        struct Nothing;
        impl Layer for Nothing {
            fn wrap(&self, _: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
                Arc::new(move |call: &Call<'_>| inner.handle(call))
            }
        }
        let (several, otherwise) = (Arc::new(Counts::default()), Arc::new(Counts::default()));
        let mut registry = Registry::new();
        let shared: Arc<dyn Handler> = several.clone();
        registry.on_shared("getppid", &shared).unwrap().on_shared("getpid", &shared).unwrap();
        registry.otherwise = Some(otherwise.clone());
        registry.layer(&Nothing).layer(&Nothing);
        registry.ended(&Container::named("c"));
        assert_eq!((several.0.load(Ordering::Relaxed), otherwise.0.load(Ordering::Relaxed)), (1, 1));
    }
}
