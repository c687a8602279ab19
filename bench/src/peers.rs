//! Many containers at once: threads of one process, each under a filter of its own, each handing its listener over
//! as runc does.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, ensure};
use rustix::process::getppid;
use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Syscall};

use crate::passing;

/// What they do.
#[derive(clap::Args)]
pub struct Options {
    pub socket: PathBuf,
    /// How many there are.
    pub count: u32,
    /// All at once, or one after the other.
    #[arg(long)]
    pub at_once: bool,
    /// Stay, when all have been answered, until stdin is closed.
    #[arg(long)]
    pub stay: bool,
}

/// A container's own stack: it does next to nothing.
const STACK: usize = 64 * 1024;

/// The process: says on stdout how long it took, in microseconds: from the first connection to the last answer if all
/// at once, else the median of each from connecting to its answer.
pub fn run(options: &Options) -> anyhow::Result<()> {
    seccomp_agent_agent::raise_descriptor_limit();
    let took = if options.at_once || options.stay { all_at_once(options)? } else { one_by_one(options)? };
    println!("{took}");
    Ok(())
}

fn one_by_one(options: &Options) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for number in 0..options.count {
        let socket = options.socket.clone();
        let one = std::thread::Builder::new().stack_size(STACK).spawn(move || -> anyhow::Result<f64> {
            let listener = install()?;
            let begin = Instant::now();
            hand_over(&socket, number, &listener)?;
            drop(listener);
            let _ = getppid();
            Ok(begin.elapsed().as_secs_f64() * 1e6)
        })?;
        took.push(one.join().map_err(|_| anyhow::anyhow!("a peer panicked"))??);
    }
    Ok(crate::report::median(took))
}

fn all_at_once(options: &Options) -> anyhow::Result<f64> {
    let count = options.count as usize;
    let (begin, answered, end) = (Barrier::new(count + 1), Barrier::new(count + 1), Barrier::new(count + 1));
    std::thread::scope(|scope| {
        let mut peers = Vec::new();
        for number in 0..options.count {
            let (begin, answered, end) = (&begin, &answered, &end);
            let peer = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                let listener = install();
                begin.wait();
                let handed_over = listener.and_then(|listener| hand_over(&options.socket, number, &listener));
                let _ = getppid();
                answered.wait();
                end.wait();
                handed_over
            })?;
            peers.push(peer);
        }
        begin.wait();
        let start = Instant::now();
        answered.wait();
        let took = start.elapsed().as_secs_f64() * 1e6;
        if options.stay {
            println!("{took}");
            std::io::stdout().flush()?;
            let _closed = std::io::stdin().read_line(&mut String::new());
        }
        end.wait();
        for peer in peers {
            peer.join().map_err(|_| anyhow::anyhow!("a peer panicked"))??;
        }
        Ok(took)
    })
}

fn install() -> anyhow::Result<std::os::fd::OwnedFd> {
    let getppid = Syscall::named(Arch::native(), "getppid").context("no getppid")?;
    Ok(filter::install(&filter::notifying(&[getppid]), Flags::empty())?)
}

pub fn hand_over(socket: &Path, number: u32, listener: &std::os::fd::OwnedFd) -> anyhow::Result<()> {
    let pid = std::process::id();
    let state = format!(
        r#"{{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":{pid},"state":{{"ociVersion":"1.0.2","id":"peer-{number}","status":"creating","pid":{pid},"bundle":"/"}}}}"#
    );
    passing::send(&UnixStream::connect(socket)?, state.as_bytes(), listener)
}

/// Runs the process to its end: what it says it took.
pub fn measure(socket: &Path, count: u32, at_once: bool) -> anyhow::Result<f64> {
    let mut command = command(socket, count)?;
    if at_once {
        command.arg("--at-once");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the peers failed");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Peers that have been answered once and then stay.
pub struct Staying(Child);

impl Staying {
    pub fn start(socket: &Path, count: u32) -> anyhow::Result<Self> {
        let mut child =
            command(socket, count)?.arg("--stay").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        ensure!(!line.is_empty(), "the peers failed");
        Ok(Self(child))
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn command(socket: &Path, count: u32) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("peers").arg(socket).arg(count.to_string());
    Ok(command)
}
