use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use seccomp_agent_registry::Registry;

use crate::complain::{Complaining, Complaint};
use crate::counts::Counts;
use crate::facts::Facts;
use crate::listening::{Listened, Listening};
use crate::recording::Recording;
use crate::run_id::RunId;

/// Counts the calls of one run of one container, all its listeners together. Cloning it makes another handle to the same
/// counts.
///
/// It takes at most 64 KiB, and 3 KiB for each listener that it is attached to. Counting takes no lock, and neither
/// memory nor system calls but for a call that was not seen before: of that, the caller is looked up.
#[derive(Clone)]
pub struct Recorder {
    run: RunId,
    counts: Arc<Counts>,
    listeners: Arc<Mutex<Vec<Weak<Listened>>>>,
    /// How many of them have not ended.
    open: Arc<AtomicUsize>,
}

impl Recorder {
    /// One that has seen nothing, for a run that begins now.
    pub fn new() -> Self {
        Self {
            run: RunId::now(),
            counts: Arc::new(Counts::new()),
            listeners: Arc::default(),
            open: Arc::default(),
        }
    }

    /// Has every call counted that this registry answers: those that have a handler, before that is asked; and all
    /// others, which continue. So it comes after all handlers. The registry is that of the listener that the container
    /// was started with, and of no other one.
    ///
    /// What a runtime does under a listener before it starts the program is told apart.
    pub fn attach(&self, registry: &mut Registry) {
        self.listen(registry, false);
    }

    /// [`attach`](Self::attach), for the listener of a process that was added to the container.
    pub fn attach_exec(&self, registry: &mut Registry) {
        self.listen(registry, true);
    }

    /// What was seen so far, as a recording of one run; of the same run each time. Calls that are being counted
    /// meanwhile may be in it or not.
    pub fn recording(&self) -> Recording {
        self.listeners().retain(|listened| {
            let living = listened.upgrade();
            if let Some(listened) = &living {
                listened.settle();
            }
            living.is_some()
        });
        let (calls, elsewhere) = (self.counts.seen().collect(), self.counts.elsewhere());
        Recording::of_run(self.run, Facts { calls, elsewhere, ..Facts::default() })
    }

    /// The run's id.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Whether a listener that it is attached to has not ended.
    pub fn is_attached(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// How many calls were counted so far, all together.
    pub fn calls(&self) -> u64 {
        self.counts.total()
    }

    /// How many different calls were counted so far.
    pub(crate) fn different(&self) -> usize {
        self.counts.different()
    }

    /// Has those calls counted and answered that no other handler answers.
    pub(crate) fn attach_complaint(&self, registry: &mut Registry, is_exec: bool, complaint: Complaint) {
        if !registry.has_otherwise() {
            registry.otherwise(Complaining { listening: self.listening(is_exec), complaint });
        }
    }

    fn listen(&self, registry: &mut Registry, is_exec: bool) {
        let listening = self.listening(is_exec);
        registry.layer(&listening);
        if !registry.has_otherwise() {
            registry.otherwise(listening);
        }
    }

    fn listening(&self, is_exec: bool) -> Listening {
        let listening = Listening::new(Arc::clone(&self.counts), Arc::clone(&self.open), is_exec);
        let mut listeners = self.listeners();
        listeners.retain(|listened| listened.strong_count() > 0);
        listeners.push(listening.listened());
        listening
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<Listened>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("calls", &self.counts.seen().count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Origin;
    use seccomp_agent_registry::{Arch, Call, Container, Errno, Handler, Notification, Syscall, Verdict};

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

    #[test]
    fn what_an_exec_did_is_told_apart() {
        let recorder = Recorder::new();
        let (mut start, mut exec) = (Registry::new(), Registry::new());
        recorder.attach(&mut start);
        recorder.attach_exec(&mut exec);
        for (registry, names) in [(&start, ["brk", "getppid"]), (&exec, ["getppid", "getuid"])] {
            for name in names {
                assert_eq!(answer(registry, name, 1), Verdict::Continue);
            }
        }
        let by = |name| recorder.recording().seen(native(name)).unwrap().by;
        assert_eq!((by("brk"), by("getuid")), ([Origin::Start].into(), [].into()), "it may be a probe yet");
        for registry in [&exec, &start] {
            registry.ended(&Container::named("c"));
        }
        assert_eq!((by("brk"), by("getuid")), ([Origin::Start].into(), [Origin::Probe].into()));
        assert_eq!(by("getppid"), [Origin::Start, Origin::Probe].into());
        assert!(!recorder.is_attached());
    }

    #[test]
    fn what_one_recorder_sees_is_one_run() {
        let recorder = Recorder::new();
        let mut registry = Registry::new();
        recorder.attach(&mut registry);
        let mut all = recorder.recording();
        for _ in 0..3 {
            assert_eq!(answer(&registry, "getppid", 1), Verdict::Continue);
            all.merge(&recorder.recording());
        }
        let seen = all.seen(native("getppid")).unwrap();
        assert_eq!((all.runs(), seen.count, seen.runs), (1, 3, 1));
        all.merge(&Recorder::new().recording());
        assert_eq!(all.runs(), 2);
    }
}
