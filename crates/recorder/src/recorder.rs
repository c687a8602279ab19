use std::sync::Arc;

use seccomp_agent_registry::{Call, Handler, Layer, Registry, Verdict};

use crate::counts::Counts;
use crate::recording::Recording;
use crate::start::Start;

/// Counts the calls of one container, all its listeners together. Cloning it makes another handle to the same counts.
///
/// It takes at most 64 KiB, and 3 KiB for each listener that it is attached to. Counting takes no
/// lock, no memory and no system call.
#[derive(Clone)]
pub struct Recorder {
    counts: Arc<Counts>,
}

impl Recorder {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { counts: Arc::new(Counts::new()) }
    }

    /// Has every call counted that this registry answers: those that have a handler, before that is asked; and all
    /// others, which continue. So it comes after all handlers.
    ///
    /// Once for each listener, `exec`'s included: what its runtime does before it starts the program is told apart.
    pub fn attach(&self, registry: &mut Registry) {
        let listening = Listening { counts: Arc::clone(&self.counts), start: Arc::new(Start::new()) };
        registry.layer(&listening);
        if !registry.has_otherwise() {
            registry.otherwise(listening);
        }
    }

    /// What was seen so far, as a recording of one run. Calls that are being counted meanwhile may be in it or not.
    pub fn recording(&self) -> Recording {
        Recording::of(&self.counts)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("calls", &self.counts.tallies().count()).finish_non_exhaustive()
    }
}

/// A recorder at one listener.
#[derive(Clone)]
struct Listening {
    counts: Arc<Counts>,
    start: Arc<Start>,
}

impl Listening {
    fn count(&self, call: &Call<'_>) {
        self.counts.add(call.notification());
        self.start.see(call.notification(), &self.counts);
    }
}

impl Handler for Listening {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self.count(call);
        Verdict::Continue
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl Layer for Listening {
    fn wrap(&self, _: &str, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Counted { listening: self.clone(), inner })
    }
}

/// A handler whose calls are counted.
struct Counted {
    listening: Listening,
    inner: Arc<dyn Handler>,
}

impl Handler for Counted {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        self.listening.count(call);
        self.inner.handle(call)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Arch, Container, Errno, Notification, Syscall};

    fn answer(registry: &Registry, name: &str, from: u64) -> Verdict {
        let mut notification = Notification::sample(name);
        notification.instruction_pointer = from;
        registry.answer(&Call::new(&notification, &Container::named("c")))
    }

    fn native(name: &str) -> Syscall {
        Syscall::named(Arch::native(), name).unwrap()
    }

    #[test]
    fn every_notified_call_is_counted_and_answered_as_before() {
        let recorder = Recorder::new();
        let mut registry = Registry::new();
        registry.on("mkdirat", |_: &Call<'_>| Verdict::Errno(Errno::PERM)).unwrap();
        recorder.attach(&mut registry);
        assert_eq!(answer(&registry, "mkdirat", 1), Verdict::Errno(Errno::PERM));
        assert_eq!(answer(&registry, "getppid", 1), Verdict::Continue);
        let recording = recorder.recording();
        let count = |name| recording.seen(native(name)).map(|seen| seen.count);
        assert_eq!((count("mkdirat"), count("getppid"), count("read")), (Some(1), Some(1), None));
    }

    #[test]
    fn counting_does_not_block_and_what_it_wraps_decides_for_itself() {
        let mut registry = Registry::new();
        registry.on("mkdirat", |_: &Call<'_>| Verdict::Continue).unwrap();
        Recorder::new().attach(&mut registry);
        let may_block = |name| registry.find(native(name)).map(Handler::may_block);
        assert_eq!((may_block("getppid"), may_block("mkdirat")), (Some(false), Some(true)));
    }

    #[test]
    fn whoever_answers_all_other_calls_goes_on_to() {
        let recorder = Recorder::new();
        let mut registry = Registry::new();
        registry.otherwise(|_: &Call<'_>| Verdict::Errno(Errno::PERM));
        recorder.attach(&mut registry);
        assert_eq!(answer(&registry, "getppid", 1), Verdict::Errno(Errno::PERM));
        assert_eq!(recorder.recording().seen(native("getppid")).map(|seen| seen.count), Some(1));
    }

    #[test]
    fn each_listener_has_a_start_of_its_own() {
        let recorder = Recorder::new();
        for _ in 0..2 {
            let mut registry = Registry::new();
            recorder.attach(&mut registry);
            for (name, from) in [("capset", 1), ("execve", 1), ("brk", 2)] {
                assert_eq!(answer(&registry, name, from), Verdict::Continue);
            }
        }
        let recording = recorder.recording();
        let seen = recording.seen(native("capset")).unwrap();
        assert_eq!((seen.count, seen.starting), (2, 2));
        assert_eq!(recording.seen(native("brk")).unwrap().starting, 0);
    }
}
