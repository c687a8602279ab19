//! What the demo is shown on: a bed, an agent, and a runtime, all of which go when it ends or is interrupted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{SigSet, Signal};
use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, Serve, profile, run_for};

/// How long a container may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// The exit status of `seccomp-agent run` for what is not its command's doing.
const OWN_FAILURE: i32 = 125;

/// Something that starts containers, and an agent that answers them.
pub(super) struct Stage {
    // Fields are dropped in this order: containers and their agent, then the directory.
    way: Way,
    bed: Bed,
    interruption: Arc<Interruption>,
}

/// How a container comes to its agent.
enum Way {
    /// A runtime starts it and hands it over to a running agent.
    Runc { runc: Arc<Runc>, daemon: Daemon },
    /// `seccomp-agent run` does both; this is the agent.
    Run(PathBuf),
}

/// What the signals' thread tells the others.
#[derive(Default)]
pub(super) struct Interruption {
    came: AtomicBool,
    /// Whose containers are to be deleted then. Held while they are.
    runc: Mutex<Weak<Runc>>,
}

/// What a container said, for its output to be checked.
pub(super) struct Shown {
    /// Its standard output and standard error, trimmed.
    pub(super) said: String,
    /// The container's init, if the runtime names it.
    pub(super) init_pid: Option<u32>,
}

impl Stage {
    /// Containers under `seccomp-agent run`, which answers them itself. Takes no root.
    pub(super) fn run(agent: &Path, interruption: &Arc<Interruption>) -> anyhow::Result<Self> {
        let way = Way::Run(agent.to_owned());
        Ok(Self { way, bed: Bed::new()?, interruption: Arc::clone(interruption) })
    }

    /// Containers under runc, and an agent beside it.
    pub(super) fn runc(agent: &Path, interruption: &Arc<Interruption>) -> anyhow::Result<Self> {
        let bed = Bed::new()?;
        let runc = Arc::new(Runc::new(&bed)?);
        *interruption.runc() = Arc::downgrade(&runc);
        let mut serve = Command::new(agent);
        serve.args(["serve", "--resolver", "demo-basic", "--socket"]).arg(bed.socket());
        let daemon = Serve::by(&bed, serve).start()?;
        Ok(Self { way: Way::Runc { runc, daemon }, bed, interruption: Arc::clone(interruption) })
    }

    /// Whether profiles go through libseccomp, which has no name for the newest calls.
    pub(super) fn has_libseccomp(&self) -> bool {
        matches!(self.way, Way::Runc { .. })
    }

    /// Runs `command` in a new container whose calls `notified` go to the agent, and shows both.
    pub(super) fn show(&self, notified: &[&str], command: &[&str]) -> anyhow::Result<Shown> {
        let seccomp = profile::notifying(notified, &self.bed.socket());
        let bundle = Bundle::new(&self.bed)?;
        match &self.way {
            Way::Runc { .. } => self.show_bundle(&bundle.seccomp(seccomp).command(command), command),
            Way::Run(agent) => self.show_run(agent, &bundle.rootfs(), &seccomp.to_string(), command),
        }
    }

    /// Runs `command` in a new container without a seccomp profile that hands over its own listener for the
    /// call `notified`, and shows both: runc leaves out what its libseccomp has no name for.
    pub(super) fn show_handed_over(&self, notified: &str, command: &[&str]) -> anyhow::Result<Shown> {
        let hand_over = ["probe", "hand-over", "--socket", "/agent.socket", "--id", "handed-over"];
        let command = [&hand_over, &["--syscall", notified][..], command].concat();
        let bundle = Bundle::new(&self.bed)?.bind(&self.bed.socket(), "/agent.socket").command(&command);
        self.show_bundle(&bundle, &command)
    }

    fn show_run(
        &self,
        agent: &Path,
        rootfs: &Path,
        seccomp: &str,
        command: &[&str],
    ) -> anyhow::Result<Shown> {
        let profile = self.bed.path().join("profile.json");
        std::fs::write(&profile, seccomp).context("cannot write the profile")?;
        self.announce(command)?;
        let mut run = Command::new(agent);
        run.args(["run", "--resolver", "demo-basic", "--name", "container", "--rootfs"]).arg(rootfs);
        run.arg("--profile").arg(profile).arg("--").args(command).env("PATH", "/bin");
        let ended = run_for(DEADLINE, &mut run)?;
        show(&ended);
        let started = ended.status.code() != Some(OWN_FAILURE);
        ensure!(started, "the container did not start");
        Ok(Shown { said: ended.said(), init_pid: None })
    }

    fn show_bundle(&self, bundle: &Bundle, command: &[&str]) -> anyhow::Result<Shown> {
        let Way::Runc { runc, daemon } = &self.way else { bail!("there is no runtime for bundles here") };
        self.announce(command)?;
        let ended = runc.run(&runc.unused_id("demo"), bundle)?;
        show(&ended);
        Self::check(&ended, daemon)?;
        Ok(Shown { said: ended.said(), init_pid: Some(bundle.init_pid()?) })
    }

    fn announce(&self, command: &[&str]) -> anyhow::Result<()> {
        ensure!(!self.interruption.came(), "interrupted");
        println!("   $ {}", as_typed(command));
        Ok(())
    }

    /// The container's own exit status is no matter: a refused chmod is what is to be seen. That runc could
    /// not run it is.
    fn check(ended: &Ended, daemon: &Daemon) -> anyhow::Result<()> {
        let log = daemon.log();
        let last = log.lines().last().unwrap_or_default();
        let started = !ended.stderr.contains("runc run failed") && !ended.stderr.contains("level=error");
        ensure!(started, "the container did not start; the agent last said: {last}");
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The directory is to be removed when nothing is written to it any more.
        drop(self.interruption.runc());
    }
}

impl Interruption {
    /// Blocks the signals that end a program, here and in the threads to come, and waits for them in a thread.
    /// From here on, they end the containers instead, and with them the demo.
    pub(super) fn watch() -> anyhow::Result<Arc<Self>> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("cannot block signals")?;
        let interruption = Arc::<Self>::default();
        let theirs = Arc::clone(&interruption);
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                let runc = theirs.runc();
                theirs.came.store(true, Relaxed);
                if let Some(runc) = runc.upgrade() {
                    // What remains is deleted again, and complained of, when the runtime is dropped.
                    let _ = runc.delete_all();
                }
            }
        });
        Ok(interruption)
    }

    /// Whether a signal came.
    pub(super) fn came(&self) -> bool {
        self.came.load(Relaxed)
    }

    fn runc(&self) -> MutexGuard<'_, Weak<Runc>> {
        self.runc.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(ended: &Ended) {
    for line in ended.said().lines() {
        println!("   {line}");
    }
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
