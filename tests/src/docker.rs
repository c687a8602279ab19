use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ended::wait_for;
use crate::{Bed, Bundle, Ended, eventually, run_for};

/// How long a command may take: no test needs half of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long dockerd may take to serve, and to end.
const START: Duration = Duration::from_secs(30);

/// What containers are made of; it has no tag and never leaves the engine.
const IMAGE: &str = "seccomp-agent-tests";

/// dockerd with everything of its own in the test bed. Dropping it removes its containers and ends it.
#[derive(Debug)]
pub struct Docker {
    dockerd: Child,
    directory: PathBuf,
}

impl Docker {
    /// A dockerd that has `runtime`, a program with arguments, as its default runtime, and knows no container;
    /// they will have the bundle's root filesystem.
    pub fn with_runtime(runtime: &[&OsStr], bed: &Bed, bundle: &Bundle) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = runtime else { bail!("a runtime is a program") };
        let arguments: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        let directory = bed.subdirectory("docker.")?;
        let config = json!({
            "data-root": directory.join("data"),
            "exec-root": directory.join("exec"),
            "pidfile": directory.join("pid"),
            "hosts": [format!("unix://{}", socket(&directory).display())],
            "storage-driver": "vfs",
            // dockerd would leave its own behind.
            "cgroup-parent": "/",
            "bridge": "none",
            "iptables": false,
            "runtimes": {"under-test": {"path": program.to_string_lossy(), "runtimeArgs": arguments}},
            "default-runtime": "under-test",
        });
        let path = directory.join("daemon.json");
        std::fs::write(&path, config.to_string()).context("cannot configure dockerd")?;
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new("dockerd");
        command.arg("--config-file").arg(path).stdout(log.try_clone()?).stderr(log);
        let dockerd = command.spawn().context("cannot start dockerd")?;
        let docker = Self { dockerd, directory };
        if !eventually(START, || docker.succeeds(&["version"])) {
            bail!("dockerd does not serve after {START:?}: {}", docker.log());
        }
        docker.import(&bundle.rootfs())?;
        Ok(docker)
    }

    /// Runs `command` in a new container, with the seccomp profile `profile`.
    pub fn run(&self, profile: &Value, command: &[&str]) -> anyhow::Result<Ended> {
        run_for(DEADLINE, self.container(&["--rm"], profile)?.arg(IMAGE).args(command))
    }

    /// Starts such a container, and returns its name.
    pub fn start(&self, profile: &Value, command: &[&str]) -> anyhow::Result<String> {
        let ended = run_for(DEADLINE, self.container(&["--detach"], profile)?.arg(IMAGE).args(command))?;
        ensure!(ended.success(), "docker run --detach: {ended}");
        Ok(ended.stdout.trim().to_owned())
    }

    /// Runs `command` in the running container `name`.
    pub fn exec(&self, name: &str, command: &[&str]) -> anyhow::Result<Ended> {
        run_for(DEADLINE, self.command().arg("exec").arg(name).args(command))
    }

    /// What dockerd has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    fn container(&self, options: &[&str], profile: &Value) -> anyhow::Result<Command> {
        let path = self.directory.join("profile.json");
        std::fs::write(&path, profile.to_string()).context("cannot write the profile")?;
        let mut command = self.command();
        command.args(["run", "--network", "none"]).args(options);
        command.arg("--security-opt").arg(format!("seccomp={}", path.display()));
        Ok(command)
    }

    fn import(&self, rootfs: &Path) -> anyhow::Result<()> {
        let archive = self.directory.join("image.tar");
        let packed =
            run_for(DEADLINE, Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg("."))?;
        ensure!(packed.success(), "tar: {packed}");
        let imported = run_for(DEADLINE, self.command().arg("import").arg(&archive).arg(IMAGE))?;
        ensure!(imported.success(), "docker import: {imported}");
        Ok(())
    }

    fn succeeds(&self, arguments: &[&str]) -> bool {
        run_for(DEADLINE, self.command().args(arguments)).is_ok_and(|ended| ended.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", socket(&self.directory).display()));
        // Nothing of this user's configuration.
        command.env("DOCKER_CONFIG", &self.directory).env_remove("DOCKER_CONTEXT");
        command
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let listed = run_for(DEADLINE, self.command().args(["ps", "--all", "--quiet"]))?;
        let names: Vec<_> = listed.stdout.split_whitespace().collect();
        if !names.is_empty() {
            let removed = run_for(DEADLINE, self.command().args(["rm", "--force"]).args(names))?;
            ensure!(removed.success(), "docker rm: {removed}");
        }
        kill_process(Pid::from_child(&self.dockerd), Signal::TERM)?;
        ensure!(wait_for(&mut self.dockerd, START)?.is_some(), "dockerd does not end: {}", self.log());
        Ok(())
    }
}

impl Drop for Docker {
    #[allow(clippy::print_stderr)] // There is nobody to return it to.
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a container may be left behind: {error:#}");
            // It has ended already, or does not end by itself.
            let _ = self.dockerd.kill();
            let _ = self.dockerd.wait();
        }
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("docker.sock")
}
