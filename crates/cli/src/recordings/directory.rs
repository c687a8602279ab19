use std::path::PathBuf;

use anyhow::{bail, ensure};
use seccomp_agent_recorder::{Name, Recording, Store};
use seccomp_agent_syscall::nearest;

use crate::config::DEFAULT_RECORDINGS;

/// Where recordings are.
#[derive(Debug, clap::Args)]
pub(crate) struct Directory {
    /// The directory of recordings [default: /var/lib/seccomp-agent/recordings; without root,
    /// $XDG_STATE_HOME/seccomp-agent/recordings]
    #[arg(long, value_name = "DIR", global = true)]
    recordings: Option<PathBuf>,
}

impl Directory {
    /// To be written to; made if it is not there.
    pub(crate) fn open(&self) -> anyhow::Result<Store> {
        Ok(Store::open(self.path())?)
    }

    /// To be read; it has to be there.
    pub(crate) fn existing(&self) -> anyhow::Result<Store> {
        let path = self.path();
        ensure!(
            path.is_dir(),
            "there are no recordings: {} is no directory (--recordings names another)",
            path.display()
        );
        self.open()
    }

    /// The recording of this name.
    pub(crate) fn read(&self, name: &Name) -> anyhow::Result<Recording> {
        let store = self.existing()?;
        if let Some(recording) = store.read(name)? {
            return Ok(recording);
        }
        if store.violations(name)?.is_some() {
            bail!(
                "of {:?} there are violations only; `recordings amend {name} --violations` makes them a recording",
                name.as_str()
            );
        }
        let names = store.names()?;
        let meant = nearest(name.as_str(), names.iter().map(Name::as_str));
        let meant = meant.map(|meant| format!(", did you mean {meant:?}?")).unwrap_or_default();
        bail!("there is no recording {:?} in {}{meant}", name.as_str(), self.path().display())
    }

    /// The recording of this name and its violations: there may be some of what was never recorded.
    pub(crate) fn read_with_violations(&self, name: &Name) -> anyhow::Result<(Recording, Recording)> {
        let store = self.existing()?;
        match store.violations(name)? {
            Some(violations) => Ok((store.read(name)?.unwrap_or_default(), violations)),
            None => Ok((self.read(name)?, Recording::default())),
        }
    }

    /// Which one it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.recordings.clone().unwrap_or_else(default)
    }
}

/// Root's is for the machine. Another user's is where the XDG base directory specification has what a program keeps.
fn default() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return DEFAULT_RECORDINGS.into();
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.unwrap_or_else(|| ".".into()).join("seccomp-agent/recordings")
}
