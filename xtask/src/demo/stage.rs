//! What the demo is shown on: a bed, an agent, and a runtime, all of which go when it ends or is interrupted.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use nix::sys::signal::{SigSet, Signal};
use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, Serve, profile};

/// A running agent and a runtime beside it.
pub(super) struct Stage {
    // Fields are dropped in this order: containers, then their agent, then the directory.
    runc: Arc<Runc>,
    daemon: Daemon,
    bed: Bed,
    interruption: Arc<Interruption>,
}

/// What the signal's thread tells the others.
#[derive(Default)]
struct Interruption {
    came: AtomicBool,
    /// Held while containers are being deleted.
    cleaning: Mutex<()>,
}

/// What a container said, for its output to be checked.
pub(super) struct Shown {
    /// Its standard output and standard error, trimmed.
    pub(super) said: String,
    /// The container's init, as runc names it.
    pub(super) init_pid: u32,
}

impl Stage {
    /// Starts the agent. From here on, a signal that would end this program ends the containers instead, and
    /// with them the demo.
    pub(super) fn set(agent: &Path) -> anyhow::Result<Self> {
        let bed = Bed::new()?;
        let runc = Arc::new(Runc::new(&bed)?);
        let interruption = Arc::<Interruption>::default();
        watch(&runc, &interruption)?;
        let mut serve = Command::new(agent);
        serve.args(["serve", "--resolver", "demo-basic", "--socket"]).arg(bed.socket());
        let daemon = Serve::by(&bed, serve).start()?;
        Ok(Self { runc, daemon, bed, interruption })
    }

    /// Whether a signal came.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interruption.came.load(Relaxed)
    }

    /// Runs `command` in a new container whose calls `notified` go to the agent, and shows both.
    pub(super) fn show(&self, notified: &[&str], command: &[&str]) -> anyhow::Result<Shown> {
        let seccomp = profile::notifying(notified, self.daemon.socket());
        let bundle = Bundle::new(&self.bed)?.seccomp(seccomp).command(command);
        self.run(&bundle, command)
    }

    /// Runs `command` in a new container without a seccomp profile that hands over its own listener for the
    /// call `notified`, and shows both: runc leaves out what its libseccomp has no name for.
    pub(super) fn show_handed_over(&self, notified: &str, command: &[&str]) -> anyhow::Result<Shown> {
        let hand_over = ["probe", "hand-over", "--socket", "/agent.socket", "--id", "handed-over"];
        let command = [&hand_over, &["--syscall", notified][..], command].concat();
        let bundle = Bundle::new(&self.bed)?.bind(self.daemon.socket(), "/agent.socket").command(&command);
        self.run(&bundle, &command)
    }

    fn run(&self, bundle: &Bundle, command: &[&str]) -> anyhow::Result<Shown> {
        ensure!(!self.is_interrupted(), "interrupted");
        println!("   $ {}", as_typed(command));
        let ended = self.runc.run(&self.runc.unused_id("demo"), bundle)?;
        for line in ended.said().lines() {
            println!("   {line}");
        }
        self.check(&ended)?;
        Ok(Shown { said: ended.said(), init_pid: bundle.init_pid()? })
    }

    /// The container's own exit status is no matter: a refused chmod is what is to be seen. That runc could
    /// not run it is.
    fn check(&self, ended: &Ended) -> anyhow::Result<()> {
        let log = self.daemon.log();
        let last = log.lines().last().unwrap_or_default();
        let started = !ended.stderr.contains("runc run failed") && !ended.stderr.contains("level=error");
        ensure!(started, "the container did not start; the agent last said: {last}");
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The directory is to be removed when nothing is written to it any more.
        drop(self.interruption.cleaning.lock());
    }
}

/// Blocks the signals that end a program, here and in the threads to come, and waits for them in a thread.
fn watch(runc: &Arc<Runc>, interruption: &Arc<Interruption>) -> anyhow::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    let (runc, interruption) = (Arc::downgrade(runc), Arc::clone(interruption));
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            let _cleaning = interruption.cleaning.lock();
            interruption.came.store(true, Relaxed);
            let Some(runc) = runc.upgrade() else { break };
            // What remains is deleted again, and complained of, when the runtime is dropped.
            let _ = runc.delete_all();
        }
    });
    Ok(())
}

/// The command with quotes where a shell wants them.
fn as_typed(command: &[&str]) -> String {
    let quoted = |word: &&str| {
        if word.contains('\'') {
            format!("\"{word}\"")
        } else if word.contains(|c: char| " $*\\|;&<>".contains(c)) {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
