use std::path::Path;

use anyhow::{Context, ensure};
use seccomp_agent_launcher::Filter;
use seccomp_agent_notify::{Arch, filter};
use seccomp_agent_profile::{Action, Flag, MAX_PROFILE_BYTES, Profile};
use seccomp_agent_registry::Registry;

/// A profile that the kernel will take as it is.
pub(super) struct Loadable {
    pub(super) filter: Filter,
    pub(super) listener_path: Option<String>,
    pub(super) metadata: String,
}

impl Loadable {
    /// That of the file, or one that notifies what `registry` answers.
    pub(super) fn load(file: Option<&Path>, registry: &Registry) -> anyhow::Result<Self> {
        let (profile, name) = match file {
            Some(path) => (read(path)?, format!("the profile {}", path.display())),
            None => (notifying(registry), "the profile of the resolver's calls".to_owned()),
        };
        let filter = Filter::new(&profile).with_context(|| format!("{name} is not loaded"))?;
        Ok(Self {
            filter,
            listener_path: profile.listener_path,
            metadata: profile.listener_metadata.unwrap_or_default(),
        })
    }
}

/// Reads the profile in a file, with a bound to its size.
pub(crate) fn read(path: &Path) -> anyhow::Result<Profile> {
    let what = || format!("the profile {}", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    let fits = usize::try_from(size).is_ok_and(|size| size <= MAX_PROFILE_BYTES);
    ensure!(fits, "{} has {size} bytes, more than {MAX_PROFILE_BYTES}", what());
    let text = std::fs::read(path).with_context(what)?;
    Profile::from_json(&text).with_context(what)
}

/// For every architecture of the machine, or its other calls would kill their thread.
fn notifying(registry: &Registry) -> Profile {
    let names = registry.names();
    let profile = answered_here(Action::Allow);
    if names.is_empty() { profile } else { profile.rule(Action::Notify, names) }
}

/// Notifies every call of every architecture.
pub(crate) fn everything() -> Profile {
    answered_here(Action::Notify)
}

/// For a listener that the launcher gets out of the container, so that any call may be notified.
fn answered_here(default_action: Action) -> Profile {
    // A handler that was interrupted half-way would be asked again.
    let flags = filter::knows(filter::Flags::WAIT_KILLABLE_RECV).then_some(Flag::WaitKillableRecv);
    Profile::new(default_action)
        .architectures(Arch::native().family().iter().copied())
        .flags([Flag::SpecAllow].into_iter().chain(flags))
}
