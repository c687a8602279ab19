use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::annotation;
use crate::kept::Kept;
use crate::pod::Pod;

/// Whose listener it is: what the runtime said of the container when it handed the listener over
/// (`ContainerProcessState` of the OCI runtime specification), bounded and parsed.
///
/// Annotations and metadata are what the container's author *asks for*; what it gets is the admin's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// The runtime's name for it. Unique per runtime, not per machine.
    pub id: String,
    /// The program that handed it over, without its directory, such as `runc`, where it could be told.
    pub runtime: Option<String>,
    /// Where the runtime is with it.
    pub status: Status,
    /// The process whose filter this listener is of: the container's init, or a process started by `exec`.
    /// In the pid namespace of the *runtime*. 0 where the runtime does not say (crun's exec).
    pub pid: u32,
    /// The container's init, as the runtime's state names it. 0 where it does not say.
    pub init_pid: u32,
    /// The bundle's directory. Relative, and of no use, where crun runs exec.
    pub bundle: PathBuf,
    /// The annotations of the container's state.
    pub annotations: BTreeMap<String, String>,
    /// `listenerMetadata` of the seccomp profile; empty if absent.
    pub metadata: String,
    /// Shared with clones.
    pub(crate) pod: Arc<OnceLock<Arc<Pod>>>,
    pub(crate) kept: Kept,
}

/// Where a runtime is with a container. Runtimes add values; those are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is being created or started: the listener is of its init.
    Creating,
    /// Created, not started.
    Created,
    /// It runs: the listener is of a process that `exec` adds.
    Running,
    /// It has ended.
    Stopped,
    /// A value outside the specification.
    Other(String),
}

impl Container {
    /// A container of which nothing but the name is known: for tests and for programs started by ourselves.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            runtime: None,
            status: Status::Running,
            pid: 0,
            init_pid: 0,
            bundle: PathBuf::new(),
            annotations: BTreeMap::new(),
            metadata: String::new(),
            pod: Arc::default(),
            kept: Kept::default(),
        }
    }

    /// What handlers keep for this listener: one value of each type, made by whoever asks for it first, and dropped
    /// with this object, when the listener has ended. A clone of the object keeps nothing of it.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use seccomp_agent_registry::Container;
    /// #[derive(Default)]
    /// struct Seen(Mutex<Vec<u32>>);
    ///
    /// let container = Container::named("web");
    /// container.keep(Seen::default).0.lock().unwrap().push(7);
    /// assert_eq!(*container.keep(Seen::default).0.lock().unwrap(), [7]);
    /// ```
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.kept.get_or_insert(make)
    }

    /// Its pod, as soon as the cluster has told of it: that may be after its first call.
    pub fn pod(&self) -> Option<&Pod> {
        self.pod.get().map(Arc::as_ref)
    }

    /// Notes its pod, for all clones of the object. The first one stays.
    pub fn tell_pod(&self, pod: impl Into<Arc<Pod>>) {
        let _told = self.pod.set(pod.into());
    }

    /// The namespace and the name of its pod: as the cluster knows them, else as the runtime says.
    pub fn pod_names(&self) -> (Option<&str>, Option<&str>) {
        match self.pod() {
            Some(pod) => (Some(&pod.namespace), Some(&pod.name)),
            None => (self.annotation(&annotation::NAMESPACE), self.annotation(&annotation::POD)),
        }
    }

    /// What it is called in its pod, as the runtime says.
    pub fn name(&self) -> Option<&str> {
        self.annotation(&annotation::CONTAINER)
    }

    /// What the runtime says in whichever of these annotations it uses for it. `None` where two that are there differ: a
    /// pod's author writes annotations as well, and must not get in the runtime's stead.
    pub fn annotation(&self, keys: &[&str]) -> Option<&str> {
        let mut said = keys.iter().filter_map(|key| self.annotations.get(*key));
        let first = said.next()?;
        said.all(|other| other == first).then_some(first)
    }

    /// Whether the listener is of a process that `exec` added, not of the container's init.
    pub fn is_exec(&self) -> bool {
        self.status == Status::Running
    }
}

impl From<&str> for Status {
    fn from(status: &str) -> Self {
        match status {
            "creating" => Self::Creating,
            "created" => Self::Created,
            "running" => Self::Running,
            "stopped" => Self::Stopped,
            other => Self::Other(other.to_owned()),
        }
    }
}
