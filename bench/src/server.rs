//! The two programs that are compared where the socket is part of the picture: the agent and the floor.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Agent,
}

/// A process that serves a socket, ended when dropped.
pub struct Server {
    child: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts it and waits until it accepts connections.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("agent.socket");
        let mut command = match kind {
            Kind::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("floor").arg(&socket);
                command
            }
            Kind::Agent => {
                let mut command = Command::new(agent_binary()?);
                command.args(["serve", "--log-level", "error", "--socket"]).arg(&socket);
                command
            }
        };
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {command:?}"))?;
        let server = Self { child, socket, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(5);
        while UnixStream::connect(&server.socket).is_err() {
            if Instant::now() > deadline {
                bail!("{command:?} does not accept connections");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Threads.
    pub fn threads(&self) -> anyhow::Result<usize> {
        Ok(self.tasks()?.len())
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kibibytes: u64 = field(&status, "VmRSS:")?.trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// How often its threads have been woken, all together.
    pub fn wake_ups(&self) -> anyhow::Result<u64> {
        self.tasks()?
            .iter()
            .map(|status| Ok(field(status, "voluntary_ctxt_switches:")?.parse::<u64>()?))
            .sum()
    }

    fn tasks(&self) -> anyhow::Result<Vec<String>> {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id()))?
            .map(|task| Ok(std::fs::read_to_string(task?.path().join("status"))?))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn field<'a>(status: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::trim).with_context(|| format!("no {name} in the process status"))
}

/// The agent's binary, built beside this one.
fn agent_binary() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("seccomp-agent");
    if !binary.exists() {
        bail!("{} is not there: run `cargo build --release -p seccomp-agent`", binary.display());
    }
    Ok(binary)
}
