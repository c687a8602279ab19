//! What `serve` records of the containers that it serves: attached while they start, saved while they run.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use seccomp_agent_policy::Watch;
use seccomp_agent_recorder::{Complaint, Name, Observe, Recording, Runs, Saved, Store, Subject, Violation};
use seccomp_agent_registry::{Container, Registry};
use tokio::sync::Notify;

/// How often what has changed is written: what an agent that is killed loses is what came since, and while it wrote.
const INTERVAL: Duration = Duration::from_millis(500);

/// Of more recordings, those whose containers have ended are not counted any more: each is a series for Prometheus.
const MAX_SERIES: usize = 1_000;

/// The agent's recordings.
pub(crate) struct Watching {
    runs: Runs,
    begun: Notify,
    violations: Violations,
    profiles: Option<Profiles>,
    /// What went wrong last, so that it is said once.
    failed: Mutex<String>,
}

/// How often profiles were violated, by the name of their recording.
#[derive(Clone, Default)]
pub(crate) struct Violations(Arc<Mutex<BTreeMap<Name, Arc<AtomicU64>>>>);

/// Where the profiles for the next starts are written.
pub(crate) struct Profiles {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// The socket that they name.
    pub(crate) socket: PathBuf,
}

impl Watching {
    /// Recordings in this directory. What an agent that was killed has left there is taken over. The directory of profiles
    /// is made, if it is not there: somebody has to put the one for the first start into it.
    pub(crate) fn open(
        directory: &Path,
        profiles: Option<Profiles>,
        violations: Violations,
    ) -> anyhow::Result<Arc<Self>> {
        if let Some(Profiles { directory, .. }) = &profiles {
            fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let runs = Runs::new(Store::open(directory)?);
        match runs.adopt() {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                let names: Vec<_> = names.iter().map(Name::as_str).collect();
                tracing::info!(recordings = ?names, "taken over");
            }
            Err(error) => tracing::error!(%error, "a run of a former agent is not taken over"),
        }
        tracing::info!(directory = %directory.display(), "recording");
        Ok(Arc::new(Self { runs, begun: Notify::new(), violations, profiles, failed: Mutex::default() }))
    }

    /// Attaches what is to be recorded of `container` to its handlers.
    pub(crate) fn attach(&self, watch: &Watch, container: &Container, registry: &mut Registry) {
        if let Some(subject) = &watch.complain {
            let complaint = self.complaint(subject, container).denying(watch.deny);
            self.runs.complain(subject, container, registry, complaint);
            tracing::info!(container = container.id, recording = %subject.name, deny = watch.deny, "complaining");
        }
        if let Some(subject) = &watch.record {
            self.runs.record(subject, container, registry);
            tracing::info!(container = container.id, recording = %subject.name, "recorded");
        }
        if watch.complain.is_some() || watch.record.is_some() {
            self.begun.notify_one();
        }
    }

    /// Writes what changes, for as long as the runtime lives. While nothing is recorded, nothing wakes up.
    pub(crate) async fn save(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            while !self.runs.is_idle() {
                tokio::time::sleep(INTERVAL).await;
                let this = Arc::clone(&self);
                let saving = tokio::task::spawn_blocking(move || this.completed(this.runs.save()));
                if let Err(error) = saving.await {
                    tracing::error!(%error, "saving recordings failed");
                }
            }
        }
    }

    /// Writes everything, for the last time.
    pub(crate) fn finish(&self) {
        self.completed(self.runs.finish());
    }

    fn completed(&self, saved: Saved) {
        for error in saved.errors {
            let message = error.to_string();
            let mut last = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != message {
                tracing::error!(error = message, "a recording is not written");
                *last = message;
            }
        }
        for (subject, recording) in saved.completed {
            tracing::info!(recording = %subject.name, runs = recording.runs(), "a recorded run has ended");
            if let Some(profiles) = &self.profiles
                && let Err(error) = profiles.write(&subject, &recording)
            {
                tracing::error!(%error, recording = %subject.name, "the profile for the next start is not written");
            }
        }
    }

    fn complaint(&self, subject: &Subject, container: &Container) -> Complaint {
        let (count, recording) = (self.violations.of(&subject.name), subject.name.clone());
        let container = container.id.clone();
        Complaint::new(move |violation| {
            count.fetch_add(1, Ordering::Relaxed);
            if violation.is_notable() {
                tell(&container, &recording, violation);
            }
        })
    }
}

/// Writes the record of a violation.
fn tell(container: &str, recording: &Name, violation: &Violation<'_>) {
    let call = violation.call;
    let caller = violation.caller();
    let (namespace, pod) = call.container().pod_names();
    let args: [_; 6] = std::array::from_fn(|index| format!("{:#x}", call.arg(index)));
    tracing::warn!(
        target: "audit",
        container,
        namespace,
        pod,
        recording = recording.as_str(),
        tid = call.tid(),
        comm = caller.as_ref().map(|caller| caller.comm.as_str()),
        exe = caller.as_ref().map(|caller| caller.exe.as_str()),
        syscall = %call.syscall(),
        asked = args.join(" "),
        decision = if violation.denied { "violation refused" } else { "violation allowed" },
        count = violation.count,
        "violation",
    );
}

impl Violations {
    /// All counters, by name.
    pub(crate) fn all(&self) -> Vec<(Name, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    }

    fn of(&self, name: &Name) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = all.len() >= MAX_SERIES;
        all.retain(|_, count| {
            Arc::strong_count(count) > 1 || (!is_full && count.load(Ordering::Relaxed) > 0)
        });
        Arc::clone(all.entry(name.clone()).or_default())
    }
}

/// Whether a profile is one that has this name recorded.
fn is_for(profile: &str, name: &Name) -> bool {
    let parsed: Option<serde_json::Value> = serde_json::from_str(profile).ok();
    let asked = parsed.and_then(|profile| Some(profile.get("listenerMetadata")?.as_str()?.to_owned()));
    let asked = asked.as_deref().and_then(|asked| asked.strip_prefix("RECORD=")?.split(',').next());
    asked == Some(name.as_str())
}

impl Profiles {
    /// Writes the profile under which the next start is recorded.
    fn write(&self, subject: &Subject, recording: &Recording) -> anyhow::Result<()> {
        let observe = Observe::new(subject.name.clone(), self.socket.to_string_lossy());
        let profile = if subject.count_all { observe.everything() } else { observe.unknown(recording) };
        let path = self.directory.join(format!("{}.json", subject.name));
        let text = format!("{}\n", profile.to_json());
        match fs::read_to_string(&path) {
            Ok(old) if old == text => return Ok(()),
            Ok(old) => ensure!(
                is_for(&old, &subject.name),
                "{} is there already and is no profile that records {}; the directory of these profiles should have no \
                 others",
                path.display(),
                subject.name
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        let write = || {
            fs::create_dir_all(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            // Runtimes read it; nothing in it is a secret.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_start_is_asked_about_everything_where_all_is_to_be_counted() {
        let directory = tempfile::tempdir().unwrap();
        let profiles =
            Profiles { directory: directory.path().join("profiles"), socket: "/run/socket".into() };
        let recording = r#"{"version": 1, "runs": 1, "calls": {"SCMP_ARCH_X86_64":
            {"mkdir": {"count": 1, "first": 5, "last": 6}}}}"#;
        let recording = Recording::from_json(recording.as_bytes()).unwrap();
        let mut subject = Subject::new("web".parse().unwrap());
        for (count_all, metadata) in [(true, "RECORD=web"), (false, "RECORD=web,unknown")] {
            subject.count_all = count_all;
            profiles.write(&subject, &recording).unwrap();
            let text = fs::read_to_string(directory.path().join("profiles/web.json")).unwrap();
            let profile: serde_json::Value = serde_json::from_str(&text).unwrap();
            let rules = profile["syscalls"].as_array().unwrap().iter();
            let mut notified = rules.filter(|rule| rule["action"] == "SCMP_ACT_NOTIFY");
            let is_asked = notified.any(|rule| rule["names"].as_array().unwrap().contains(&"mkdir".into()));
            assert_eq!((is_asked, profile["listenerMetadata"].as_str()), (count_all, Some(metadata)));
        }
    }
}
