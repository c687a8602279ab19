use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::runc::WITHOUT_UNIFIED_CGROUPS;
use crate::{Bed, Bundle, Ended, eventually, run_for};

/// How long a command may take: no test needs half of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// What podman would otherwise share with the machine's other containers, or ask the machine for: locks in
/// shared memory, systemd, a network, limits above those that a restricted root has.
const CONFIG: &str = r#"
[containers]
cgroupns = "host"
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
netns = "none"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
"#;

/// podman, as root, with everything of its own in the test bed. Dropping it removes its containers.
#[derive(Debug)]
pub struct Podman {
    runtime: &'static str,
    given: &'static [&'static str],
    directory: PathBuf,
}

impl Podman {
    /// A podman over `runtime`, runc or crun, that knows no container.
    pub fn over(runtime: &'static str, bed: &Bed) -> anyhow::Result<Self> {
        let directory = bed.subdirectory("podman.")?;
        std::fs::write(directory.join("containers.conf"), CONFIG).context("cannot configure podman")?;
        Ok(Self { runtime, given: &[], directory })
    }

    /// Gives capabilities to its containers beyond the usual ones.
    #[must_use]
    pub fn giving(mut self, given: &'static [&'static str]) -> Self {
        self.given = given;
        self
    }

    /// Runs `command` in a new container on the bundle's root filesystem, with the seccomp profile `profile`.
    pub fn run(&self, bundle: &Bundle, profile: &Value, command: &[&str]) -> anyhow::Result<Ended> {
        run_for(DEADLINE, self.container(&["--rm"], bundle, profile)?.args(command))
    }

    /// Starts such a container, and returns its name.
    pub fn start(&self, bundle: &Bundle, profile: &Value, command: &[&str]) -> anyhow::Result<String> {
        let ended = run_for(DEADLINE, self.container(&["--detach"], bundle, profile)?.args(command))?;
        ensure!(ended.success(), "podman run --detach: {ended}");
        Ok(ended.stdout.trim().to_owned())
    }

    /// Runs `command` in the running container `name`.
    pub fn exec(&self, name: &str, command: &[&str]) -> anyhow::Result<Ended> {
        run_for(DEADLINE, self.command().arg("exec").arg(name).args(command))
    }

    /// Builds an image as `deploy/Containerfile` says one is built, and returns its id.
    pub fn build(&self, file: &Path, context: &Path) -> anyhow::Result<String> {
        let mut build = self.command();
        build.args(["build", "--quiet", "--timestamp", "0", "--file"]).arg(file).arg(context);
        let ended = run_for(DEADLINE, &mut build)?;
        ensure!(ended.success(), "podman build: {ended}");
        Ok(ended.stdout.trim().to_owned())
    }

    /// What is known of an image, in this format.
    pub fn inspect(&self, image: &str, format: &str) -> anyhow::Result<String> {
        let ended = run_for(DEADLINE, self.command().args(["image", "inspect", "--format", format, image]))?;
        ensure!(ended.success(), "podman image inspect: {ended}");
        Ok(ended.stdout)
    }

    fn container(&self, options: &[&str], bundle: &Bundle, profile: &Value) -> anyhow::Result<Command> {
        let path = self.directory.join("profile.json");
        std::fs::write(&path, profile.to_string()).context("cannot write the profile")?;
        let mut command = self.command();
        // No cgroups but the container's own: podman would leave its others behind.
        command.args(["run", "--cgroups", "no-conmon", "--cgroup-parent", "/"]).args(options);
        for capability in self.given {
            command.args(["--cap-add", capability]);
        }
        command.arg("--security-opt").arg(format!("seccomp={}", path.display()));
        command.arg("--rootfs").arg(bundle.rootfs());
        Ok(command)
    }

    /// Whether any process was started with a path of this podman's among its arguments.
    fn is_at_work(&self) -> bool {
        let ours = self.directory.as_os_str().as_encoded_bytes();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .any(|arguments| arguments.windows(ours.len()).any(|part| part == ours))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WITHOUT_UNIFIED_CGROUPS[0]);
        command.args(&WITHOUT_UNIFIED_CGROUPS[1..]).arg("podman");
        command.env("CONTAINERS_CONF", self.directory.join("containers.conf"));
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.directory.join(name));
        }
        command.args(["--storage-driver", "vfs", "--runtime", self.runtime]);
        command
    }
}

impl Drop for Podman {
    #[allow(clippy::print_stderr)] // There is nobody to return it to.
    fn drop(&mut self) {
        let removed = run_for(DEADLINE, self.command().args(["rm", "--all", "--force", "--time", "0"]));
        if !removed.as_ref().is_ok_and(Ended::success) {
            eprintln!("a container may be left behind: {removed:?}");
        }
        // A container's monitor cleans up behind it once more, and would write into a directory that is going.
        if !eventually(DEADLINE, || !self.is_at_work()) {
            eprintln!("a monitor of podman may be left behind in {}", self.directory.display());
        }
    }
}
