use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{Bed, Bundle, Ended, run_for};

/// How long a container of a test may take: no test needs half of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs crun where it fails on a machine that mounts both versions of cgroups: it takes the second for the only
/// one if it sees it.
pub const WITHOUT_UNIFIED_CGROUPS: [&str; 7] = [
    "unshare",
    "--mount",
    "--propagation=private",
    "sh",
    "-c",
    "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"",
    "sh",
];

/// runc, or a runtime with runc's command line, with its state in the test bed. Dropping it deletes every
/// container that it still knows.
#[derive(Debug)]
pub struct Runc {
    program: Vec<String>,
    root: PathBuf,
}

impl Runc {
    /// A runc that knows no container.
    pub fn new(bed: &Bed) -> anyhow::Result<Self> {
        Self::by(bed, &["runc"])
    }

    /// crun, which knows no container.
    pub fn crun(bed: &Bed) -> anyhow::Result<Self> {
        Self::by(bed, &[&WITHOUT_UNIFIED_CGROUPS[..], &["crun"]].concat())
    }

    /// `program`, with the first of its arguments, that has runc's command line and knows no container.
    pub fn by(bed: &Bed, program: &[&str]) -> anyhow::Result<Self> {
        let program = program.iter().map(|&word| word.to_owned()).collect();
        Ok(Self { program, root: bed.subdirectory("runc.")? })
    }

    /// A container name that no other test has: cgroups are named by it, machine-wide.
    pub fn unused_id(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
    }

    /// Runs the container `id` to its end, with its output.
    pub fn run(&self, id: &str, bundle: &Bundle) -> anyhow::Result<Ended> {
        let directory = bundle.write()?;
        let mut command = self.command();
        command.arg("run").arg("--pid-file").arg(bundle.pid_file()).arg("--bundle").arg(directory).arg(id);
        let ended = run_for(DEADLINE, &mut command);
        if ended.is_err() {
            self.delete(id)?;
        }
        ended
    }

    /// Starts the container `id` and returns once its init runs; its output is lost.
    pub fn start(&self, id: &str, bundle: &Bundle) -> anyhow::Result<()> {
        let bundle = bundle.write()?;
        let mut command = self.command();
        let ended = run_for(DEADLINE, command.args(["run", "--detach", "--bundle"]).arg(bundle).arg(id))?;
        ensure!(ended.success(), "runc run --detach: {ended}");
        Ok(())
    }

    /// Creates the container `id` without starting its command.
    pub fn create(&self, id: &str, bundle: &Bundle) -> anyhow::Result<()> {
        let bundle = bundle.write()?;
        let ended = run_for(DEADLINE, self.command().arg("create").arg("--bundle").arg(bundle).arg(id))?;
        ensure!(ended.success(), "runc create: {ended}");
        Ok(())
    }

    /// Starts the command of the container `id`, which was [created](Self::create).
    pub fn start_created(&self, id: &str) -> anyhow::Result<()> {
        let ended = run_for(DEADLINE, self.command().args(["start", id]))?;
        ensure!(ended.success(), "runc start: {ended}");
        Ok(())
    }

    /// Runs `command` in the running container `id`.
    pub fn exec(&self, id: &str, command: &[&str]) -> anyhow::Result<Ended> {
        run_for(DEADLINE, self.command().arg("exec").arg(id).args(command))
    }

    /// What runc says of the container `id`.
    pub fn state(&self, id: &str) -> anyhow::Result<Value> {
        let ended = run_for(DEADLINE, self.command().args(["state", id]))?;
        ensure!(ended.success(), "runc state: {ended}");
        serde_json::from_str(&ended.stdout).context("runc state is no JSON")
    }

    /// Sends `signal` to the init of the container `id`.
    pub fn kill(&self, id: &str, signal: &str) -> anyhow::Result<()> {
        let ended = run_for(DEADLINE, self.command().args(["kill", id, signal]))?;
        ensure!(ended.success(), "runc kill: {ended}");
        Ok(())
    }

    /// Kills and deletes the container `id`, if there is one.
    pub fn delete(&self, id: &str) -> anyhow::Result<()> {
        let ended = run_for(DEADLINE, self.command().args(["delete", "--force", id]))?;
        ensure!(ended.success(), "runc delete: {ended}");
        Ok(())
    }

    /// Kills and deletes all containers.
    pub fn delete_all(&self) -> anyhow::Result<()> {
        let listed = run_for(DEADLINE, self.command().args(["list", "--quiet"]))?;
        listed.stdout.lines().try_for_each(|id| self.delete(id))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        // A process group of its own: what the terminal sends goes to whoever cleans up.
        command.arg("--root").arg(&self.root).process_group(0);
        command
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        if let Err(error) = self.delete_all() {
            report(&error);
        }
    }
}

/// A test that has passed must not fail for what it left behind, but somebody should know.
#[allow(clippy::print_stderr)] // There is nobody to return it to.
fn report(error: &anyhow::Error) {
    eprintln!("a container may be left behind: {error:#}");
}
