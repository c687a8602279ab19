use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

/// A private directory for one test; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Bed {
    directory: TempDir,
}

impl Bed {
    /// An empty one, directly below the directory for temporary files: a socket's path is at most 107 bytes.
    pub fn new() -> anyhow::Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// An empty one in a directory, which may be cleared where tests end without dropping it.
    pub fn below(directory: &Path) -> anyhow::Result<Self> {
        let made = tempfile::Builder::new().prefix("seccomp-agent.").tempdir_in(directory);
        Ok(Self { directory: made.context("cannot make a temporary directory")? })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the agent's socket is, or will be.
    pub fn socket(&self) -> PathBuf {
        self.path().join("agent.socket")
    }

    /// A new directory in it, whose name starts with `prefix`.
    pub fn subdirectory(&self, prefix: &str) -> anyhow::Result<PathBuf> {
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(self.path());
        Ok(made.context("cannot make a directory in the test bed")?.keep())
    }
}

/// Whether `holds` becomes true within `deadline`; asks every few milliseconds.
pub fn eventually(deadline: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
