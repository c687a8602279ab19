use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::ended::wait_for;
use crate::process::children;
use crate::{Bed, Metrics, Usage, binaries, eventually};

/// How long the agent may take to serve its socket.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end: it promises half of it.
const STOP: Duration = Duration::from_secs(10);

/// How long an agent has to be unchanged to count as settled.
const SETTLED: Duration = Duration::from_millis(300);
/// How many times it may still change.
const SETTLING_ROUNDS: u32 = 20;

/// A running agent. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    metrics: Option<SocketAddr>,
}

/// How an agent is to be started, where [`Daemon::serve`] is too little.
#[derive(Debug)]
pub struct Serve {
    command: Command,
    stdin: Stdio,
    socket: PathBuf,
    log: PathBuf,
    metrics: Option<SocketAddr>,
}

impl Serve {
    /// `seccomp-agent serve` on the bed's socket, with more `arguments`.
    pub fn new(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries::agent()?);
        command.arg("serve").arg("--socket").arg(bed.socket()).args(arguments);
        Ok(Self::by(bed, command))
    }

    /// `command`, which has to end up as an agent that serves the bed's socket.
    pub fn by(bed: &Bed, mut command: Command) -> Self {
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        let log = bed.path().join("agent.log");
        Self { command, stdin: Stdio::null(), socket: bed.socket(), log, metrics: None }
    }

    /// With a metrics endpoint on a free port of this machine.
    pub fn with_metrics(mut self) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        self.command.arg("--metrics-bind-address").arg(address.to_string());
        self.metrics = Some(address);
        Ok(self)
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With something other than nothing as its standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    /// Starts it, and waits until it answers.
    pub fn start(mut self) -> anyhow::Result<Daemon> {
        let log = File::create(&self.log)?;
        // A process group of its own: what the terminal sends goes to whoever cleans up.
        self.command.stdin(self.stdin).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = self.command.spawn().context("cannot start the agent")?;
        let mut daemon = Daemon { child, socket: self.socket, log: self.log, metrics: self.metrics };
        let mut ended = None;
        let serves = eventually(START, || {
            ended = daemon.child.try_wait().ok().flatten();
            ended.is_some() || daemon.serves()
        });
        match (serves, ended) {
            (true, None) => Ok(daemon),
            (_, Some(status)) => bail!("the agent ended with {status}: {}", daemon.log()),
            (false, None) => bail!("the agent does not serve after {START:?}: {}", daemon.log()),
        }
    }
}

impl Daemon {
    /// Starts `seccomp-agent serve` on the bed's socket, with more `arguments`, and waits until it answers.
    pub fn serve(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Self> {
        Serve::new(bed, arguments)?.start()
    }

    /// [`serve`](Self::serve), by this policy.
    pub fn with_policy(bed: &Bed, policy: &str) -> anyhow::Result<Self> {
        let path = bed.path().join("policy.yaml");
        std::fs::write(&path, policy)?;
        Self::serve(bed, &["--policy", path.to_str().context("the bed's path is no text")?])
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the socket and the metrics endpoint, if it is to have one, can be connected to.
    fn serves(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
            && self.metrics.is_none_or(|address| TcpStream::connect(address).is_ok())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it logs something that contains each of `words`, in one line, within some seconds.
    pub fn logs(&self, words: &[&str]) -> bool {
        eventually(Duration::from_secs(5), || {
            self.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    /// What its metrics endpoint says now.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::of(self.metrics.context("this agent was started without a metrics endpoint")?)
    }

    /// Whether runtimes find it, as its metrics endpoint says: an error if not.
    pub fn is_ready(&self) -> anyhow::Result<()> {
        Metrics::ready(self.metrics.context("this agent was started without a metrics endpoint")?)
    }

    /// What it uses of the machine now.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.child.id())
    }

    /// What it uses once that has not changed for a while, as when its last container has ended.
    pub fn settled_usage(&self) -> anyhow::Result<Usage> {
        let mut usage = self.usage()?;
        for _ in 0..SETTLING_ROUNDS {
            std::thread::sleep(SETTLED);
            let now = self.usage()?;
            if (now.descriptors, now.threads, now.cpu) == (usage.descriptors, usage.threads, usage.cpu) {
                return Ok(now);
            }
            usage = now;
        }
        Ok(usage)
    }

    /// The processes that it has at this moment.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        children(self.child.id())
    }

    /// How many they are.
    pub fn children(&self) -> anyhow::Result<usize> {
        Ok(self.processes()?.len())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("cannot signal the agent")
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        match wait_for(&mut self.child, STOP)? {
            Some(status) => Ok(status),
            None => bail!("the agent has not ended after {STOP:?}: {}", self.log()),
        }
    }

    /// Asks it to end by SIGTERM, and waits for that.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is to be done about an agent that cannot be killed: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
