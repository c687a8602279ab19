use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seccomp_agent_registry::{Container, Registry};

use crate::complain::Complaint;
use crate::name::Name;
use crate::recorder::Recorder;
use crate::recording::Recording;
use crate::store::{Store, StoreError};

/// The runs of containers that an agent records, and the [`Store`] that they are kept in.
///
/// Listeners are attached while containers start, and that touches no file. What was seen is written by
/// [`save`](Self::save), which an agent calls again and again, on a thread that may wait.
#[derive(Debug)]
pub struct Runs {
    store: Store,
    live: Mutex<Vec<Arc<Live>>>,
}

/// Whose run it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// The name of the recording that it belongs to.
    pub name: Name,
    /// The container's image, if it is known.
    pub image: Option<String>,
    /// The container of which workload it is, if it is known.
    pub workload: Option<String>,
    /// Whether what is known is to be notified at the next start too.
    pub count_all: bool,
    /// Whether what is known is not notified at this start.
    pub unknown_only: bool,
}

/// What came of saving.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Saved {
    /// Recordings that runs which have ended were added to.
    pub completed: Vec<(Subject, Recording)>,
    /// What could not be written. Runs that have ended are then kept as unfinished, if that is possible.
    pub errors: Vec<StoreError>,
}

/// A run that has not ended.
#[derive(Debug)]
struct Live {
    container: String,
    runtime: Option<String>,
    subject: Subject,
    kind: Kind,
    recorder: Recorder,
    /// How many calls were counted when it was last saved.
    saved: AtomicU64,
    /// How many different ones, and when that was.
    known: Mutex<(usize, Instant)>,
    is_refused: AtomicBool,
}

/// What is recorded of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Everything,
    Violations,
}

/// How late it may be written how often known violations were made: a container that makes one in a loop is to keep no
/// disk busy.
const COUNTS: Duration = Duration::from_secs(10);

/// More recordings than this are not begun: a container that chooses a name makes a file.
const MAX_RECORDINGS: usize = 10_000;

impl Subject {
    /// One of which nothing else is known.
    pub const fn new(name: Name) -> Self {
        Self { name, image: None, workload: None, count_all: false, unknown_only: false }
    }
}

impl Runs {
    /// None yet, to be kept in this store.
    pub fn new(store: Store) -> Self {
        Self { store, live: Mutex::default() }
    }

    /// Records what is notified by the listener of `container` that `registry` is for. It comes after all handlers. A
    /// process that was added to a container belongs to the run of the container, if that is recorded under the same
    /// name.
    pub fn record(&self, subject: &Subject, container: &Container, registry: &mut Registry) {
        self.enter(subject, container, Kind::Everything, |recorder| {
            if container.is_exec() { recorder.attach_exec(registry) } else { recorder.attach(registry) }
        });
    }

    /// Takes every call that no other handler answers for a violation of the container's profile.
    pub fn complain(
        &self,
        subject: &Subject,
        container: &Container,
        registry: &mut Registry,
        complaint: Complaint,
    ) {
        self.enter(subject, container, Kind::Violations, |recorder| {
            recorder.attach_complaint(registry, container.is_exec(), complaint);
        });
    }

    /// Whether no run has to be saved.
    pub fn is_idle(&self) -> bool {
        self.live().is_empty()
    }

    /// Writes what has changed, and completes what has ended. Waits for the disk, and for others that use the store.
    pub fn save(&self) -> Saved {
        self.save_all(false)
    }

    /// [`save`](Self::save), of an agent that stops: whatever has not ended is not seen any more.
    pub fn finish(&self) -> Saved {
        self.save_all(true)
    }

    /// Takes over what agents have left that were killed, and says of which recordings.
    pub fn adopt(&self) -> Result<Vec<Name>, StoreError> {
        self.store.adopt()
    }

    fn enter(&self, subject: &Subject, container: &Container, kind: Kind, attach: impl FnOnce(&Recorder)) {
        let mut live = self.live();
        let is_it = |live: &&Arc<Live>| {
            live.container == container.id && live.kind == kind && live.subject.name == subject.name
        };
        let known = live.iter().rev().find(is_it).filter(|_| container.is_exec());
        // Within the lock: a run that has a listener is not taken for one that has ended.
        if let Some(known) = known {
            return attach(&known.recorder);
        }
        let is_part = subject.unknown_only || container.is_exec() || kind == Kind::Violations;
        let new = Live {
            container: container.id.clone(),
            runtime: container.runtime.clone(),
            // Of a container whose start nobody has seen, and of one that only complains, this is a part.
            subject: Subject { unknown_only: is_part, ..subject.clone() },
            kind,
            recorder: Recorder::new(),
            saved: AtomicU64::new(0),
            known: Mutex::new((0, Instant::now())),
            is_refused: AtomicBool::new(false),
        };
        attach(&new.recorder);
        live.push(Arc::new(new));
    }

    fn save_all(&self, everything_has_ended: bool) -> Saved {
        let mut ended = Vec::new();
        let mut changed = Vec::new();
        self.live().retain(|live| {
            let has_ended = everything_has_ended || !live.recorder.is_attached();
            if has_ended {
                ended.push(Arc::clone(live));
            } else if live.has_changed() {
                changed.push(Arc::clone(live));
            }
            !has_ended
        });
        let mut saved = Saved::default();
        for live in changed {
            if let Err(error) = self.save_one(&live) {
                saved.errors.push(error);
            }
        }
        for live in ended {
            match self.complete(&live) {
                Ok(None) => {}
                Ok(Some(recording)) => saved.completed.push((live.subject.clone(), recording)),
                Err(error) => saved.errors.push(error),
            }
        }
        saved
    }

    fn save_one(&self, live: &Live) -> Result<(), StoreError> {
        if !self.has_room(live)? {
            return Ok(());
        }
        // Counted before it is looked at: what comes meanwhile is a change.
        let counted = live.recorder.calls();
        let known = (live.recorder.different(), Instant::now());
        let (name, recording) = (&live.subject.name, live.recording());
        match live.kind {
            Kind::Everything => self.store.save(name, live.recorder.run(), &recording)?,
            Kind::Violations => self.store.add_violations(name, &recording).map(drop)?,
        }
        live.saved.store(counted, Ordering::Relaxed);
        *live.known() = known;
        Ok(())
    }

    /// The whole recording, if the run is part of one.
    fn complete(&self, live: &Live) -> Result<Option<Recording>, StoreError> {
        if !self.has_room(live)? {
            return Ok(None);
        }
        let (name, recording) = (&live.subject.name, live.recording());
        match live.kind {
            Kind::Everything => match self.store.add(name, &recording) {
                Ok(all) => Ok(Some(all)),
                Err(error) => {
                    self.store.save(name, live.recorder.run(), &recording)?;
                    Err(error)
                }
            },
            Kind::Violations if live.recorder.calls() == 0 => Ok(None),
            Kind::Violations => self.store.add_violations(name, &recording).map(|_| None),
        }
    }

    /// Whether the run may be kept. The error comes once.
    fn has_room(&self, live: &Live) -> Result<bool, StoreError> {
        if live.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if live.saved.load(Ordering::Relaxed) == 0
            && !self.store.has_room_for(&live.subject.name, MAX_RECORDINGS)?
        {
            live.is_refused.store(true, Ordering::Relaxed);
            return Err(StoreError::Full { name: live.subject.name.clone(), most: MAX_RECORDINGS });
        }
        Ok(true)
    }

    fn live(&self) -> MutexGuard<'_, Vec<Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn has_changed(&self) -> bool {
        if self.recorder.calls() == self.saved.load(Ordering::Relaxed) {
            return false;
        }
        // The file of violations is one for all containers, and is read before it is written.
        let (different, since) = *self.known();
        self.kind == Kind::Everything || self.recorder.different() != different || since.elapsed() > COUNTS
    }

    fn known(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> Recording {
        let mut recording = self.recorder.recording();
        if let Some(runtime) = &self.runtime {
            recording = recording.by_runtime(runtime);
        }
        if let Some(image) = &self.subject.image {
            recording = recording.of_image(image);
        }
        if let Some(workload) = &self.subject.workload {
            recording = recording.of_workload(workload);
        }
        if self.subject.unknown_only { recording.partially() } else { recording }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Arch, Call, Notification, Status, Syscall, Verdict};
    use tempfile::TempDir;

    fn runs() -> (TempDir, Runs) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, Runs::new(store))
    }

    fn container(id: &str, status: Status) -> Container {
        let mut container = Container::named(id);
        container.status = status;
        container
    }

    fn call(registry: &Registry, name: &str) -> Verdict {
        let (notification, container) = (Notification::sample(name), Container::named("c"));
        registry.answer(&Call::new(&notification, &container))
    }

    fn kept(runs: &Runs, name: &str) -> Option<(u64, u64)> {
        let recording = runs.store.read(&"web".parse().unwrap()).unwrap()?;
        let count =
            recording.seen(Syscall::named(Arch::native(), name).unwrap()).map_or(0, |seen| seen.count);
        Some((recording.runs(), count))
    }

    fn kept_violations(runs: &Runs, name: &Name) -> u64 {
        let violations = runs.store.violations(name).unwrap().unwrap();
        violations.calls().into_values().map(|seen| seen.count).sum()
    }

    #[test]
    fn a_container_with_its_execs_is_one_run_that_can_be_read_before_it_ends() {
        let (_directory, runs) = runs();
        let subject = Subject::new("web".parse().unwrap());
        let (mut start, mut exec) = (Registry::new(), Registry::new());
        runs.record(&subject, &container("c", Status::Creating), &mut start);
        runs.record(&subject, &container("c", Status::Running), &mut exec);
        assert_eq!(call(&start, "getppid"), Verdict::Continue);
        assert!(runs.save().errors.is_empty());
        assert_eq!(kept(&runs, "getppid"), Some((1, 1)));

        assert_eq!(call(&exec, "getppid"), Verdict::Continue);
        start.ended(&Container::named("c"));
        assert!(runs.save().completed.is_empty());
        assert_eq!(kept(&runs, "getppid"), Some((1, 2)));
        exec.ended(&Container::named("c"));
        let completed = runs.save().completed;
        assert_eq!(completed.iter().map(|(_, recording)| recording.runs()).collect::<Vec<_>>(), [1]);
        assert!(runs.is_idle());
        assert_eq!((kept(&runs, "getppid"), runs.adopt().unwrap()), (Some((1, 2)), vec![]));
    }

    #[test]
    fn a_listener_that_was_never_served_ends_its_run() {
        let (_directory, runs) = runs();
        let mut registry = Registry::new();
        runs.record(&Subject::new("web".parse().unwrap()), &container("c", Status::Creating), &mut registry);
        drop(registry);
        runs.save();
        assert!(runs.is_idle());
    }

    #[test]
    fn another_container_of_the_same_name_is_another_run() {
        let (_directory, runs) = runs();
        let subject = Subject::new("web".parse().unwrap());
        for id in ["c", "c", "d"] {
            let mut registry = Registry::new();
            runs.record(&subject, &container(id, Status::Creating), &mut registry);
            assert_eq!(call(&registry, "getppid"), Verdict::Continue);
            std::mem::forget(registry);
        }
        runs.save();
        assert_eq!(kept(&runs, "getppid"), Some((3, 3)));
        runs.finish();
        assert_eq!((kept(&runs, "getppid"), runs.is_idle()), (Some((3, 3)), true));
    }

    #[test]
    fn what_a_profile_does_not_allow_is_reported_kept_and_refused_if_asked() {
        let (_directory, runs) = runs();
        let subject = Subject::new("web".parse().unwrap());
        for (denied, expected) in
            [(false, Verdict::Continue), (true, Verdict::Errno(seccomp_agent_registry::Errno::PERM))]
        {
            let told = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&told);
            let complaint = Complaint::new(move |violation| {
                assert_eq!(violation.denied, denied);
                count.store(violation.count, Ordering::Relaxed);
            });
            let mut registry = Registry::new();
            registry.on("getuid", |_: &Call<'_>| Verdict::Return(7)).unwrap();
            let container = container("c", Status::Creating);
            runs.complain(&subject, &container, &mut registry, complaint.denying(denied));
            for _ in 0..2 {
                assert_eq!(call(&registry, "getppid"), expected);
            }
            assert_eq!((call(&registry, "getuid"), told.load(Ordering::Relaxed)), (Verdict::Return(7), 2));
            let saved = || kept_violations(&runs, &subject.name);
            runs.save();
            let before = saved();
            assert_eq!(call(&registry, "getppid"), expected);
            runs.save();
            assert_eq!(saved(), before, "only a count has changed");
            assert_eq!(call(&registry, "getpgrp"), expected);
            runs.save();
            assert_eq!(saved(), before + 2);
            registry.ended(&container);
            assert!(runs.save().completed.is_empty());
        }
        let violations = runs.store.violations(&subject.name).unwrap().unwrap();
        assert_eq!(violations.calls().into_values().map(|seen| seen.count).sum::<u64>(), 8);
        assert_eq!((violations.runs(), kept(&runs, "getppid")), (2, None));
    }
}
