//! The Kubernetes node that the tier `cluster` runs on.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use seccomp_agent_tests::binaries;

use crate::command;

/// A node that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Node {
    cache: PathBuf,
    /// Locked while the node is this process's.
    _lock: File,
}

impl Node {
    /// Builds what is not built yet, which takes Go and, the first time, a quarter of an hour; and starts a fresh node.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let go = command::output(Command::new("go").arg("version"));
        ensure!(
            go.is_some(),
            "missing: go, which a node is built with; install it: https://go.dev/doc/install"
        );
        let cache = binaries::node()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let lock = File::create(cache.join("lock")).context("cannot create the node's lock")?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for the node that another test uses");
            lock.lock().context("cannot lock the node")?;
        }
        let node = Self { cache, _lock: lock };
        node.run("build")?;
        // What a run that was interrupted has left.
        node.run("down")?;
        node.run("up")?;
        Ok(node)
    }

    /// Runs one of the node's programs.
    fn run(&self, program: &str) -> anyhow::Result<()> {
        let path = command::root()?.join("tests/cluster/node").join(program);
        command::run(Command::new(path).arg(&self.cache))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.run("down") {
            eprintln!("==> the node still runs: {error:#}");
        }
    }
}
