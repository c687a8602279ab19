use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Ended {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Both outputs, trimmed, the standard output first.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout.trim(), self.stderr.trim()).trim().to_owned()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} ms: {}", self.status, self.took.as_millis(), self.said())
    }
}

/// Runs `command` to its end, which has to come within `deadline`.
///
/// Its output goes to files, not to pipes: a process that it leaves behind may hold a pipe open for ever. Its input
/// is an empty file, not the machine's `/dev/null`: crun gives what it finds there to the container's user.
pub fn run_for(deadline: Duration, command: &mut Command) -> anyhow::Result<Ended> {
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let start = Instant::now();
    let mut child = command
        .stdin(tempfile::tempfile()?)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let status = wait_for(&mut child, deadline)?;
    let took = start.elapsed();
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let (stdout, stderr) = (text(&mut stdout)?, text(&mut stderr)?);
    match status {
        Some(status) => Ok(Ended { status, stdout, stderr, took }),
        None => bail!("{command:?} has not ended after {deadline:?}: {stdout}{stderr}"),
    }
}

/// Waits until `child` ends, or `deadline` is over.
pub(crate) fn wait_for(child: &mut Child, deadline: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot open a pidfd")?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&deadline.try_into()?)).context("cannot wait for a process")? {
        0 => Ok(None),
        _ => Ok(Some(child.wait()?)),
    }
}

fn text(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
