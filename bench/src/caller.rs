//! The container: a process of its own whose threads make a call as fast as they can, or with work between.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Listener, Syscall};
use serde::{Deserialize, Serialize};

use crate::deed::Deed;
use crate::passing;

/// What the container does.
#[derive(Clone, Copy, clap::Args)]
pub struct Options {
    /// Calls of each thread.
    pub calls: u32,
    pub threads: u32,
    /// Microseconds of work before each call.
    pub work: u32,
    /// Whether its calls are notified at all.
    #[arg(long)]
    pub native: bool,
    /// The call.
    #[arg(long, value_enum, default_value = "getppid")]
    pub deed: Deed,
}

impl Options {
    /// `calls` times `getppid` by each of `threads`, without work between them.
    pub const fn back_to_back(calls: u32, threads: u32) -> Self {
        Self { calls, threads, work: 0, native: false, deed: Deed::Getppid }
    }
}

/// What it took.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Measured {
    /// The median of all calls, in microseconds.
    pub latency: f64,
    /// All threads' calls a second.
    pub rate: f64,
}

/// Calls made before the clock runs.
const WARM_UP: u32 = 500;

/// The container's process: hands its listener over on stdin, which is a socket, waits for a byte there, calls,
/// and says what it took on stdout.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut parent = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    options.deed.prepare()?;
    if !options.native {
        let named = |name: &&str| Syscall::named(Arch::native(), name).context("no such call");
        let calls = options.deed.calls().iter().map(named).collect::<anyhow::Result<Vec<_>>>()?;
        let listener = filter::install(&filter::notifying(&calls), Flags::empty())?;
        passing::send(&parent, b"l", &listener)?;
    }
    options.deed.drop_privileges(options.native)?;
    parent.read_exact(&mut [0])?;
    let begin = std::sync::Barrier::new(options.threads as usize);
    let mut latencies = Vec::new();
    let mut rate = 0.0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(|| call(options, &begin))).collect();
        for thread in threads {
            if let Ok(Ok((mut theirs, took))) = thread.join() {
                rate += f64::from(options.calls) / took.as_secs_f64();
                latencies.append(&mut theirs);
            }
        }
    });
    ensure!(!latencies.is_empty(), "no calls");
    let measured = Measured { latency: crate::report::median(latencies), rate };
    serde_json::to_writer(std::io::stdout(), &measured)?;
    Ok(())
}

fn call(options: &Options, begin: &std::sync::Barrier) -> rustix::io::Result<(Vec<f64>, Duration)> {
    let mut latencies = Vec::with_capacity(options.calls as usize);
    let steps = options.deed.steps();
    let warm = (0..WARM_UP).try_for_each(|_| steps.call().and_then(|()| steps.undo()));
    begin.wait();
    warm?;
    let start = Instant::now();
    let work = Duration::from_micros(u64::from(options.work));
    for _ in 0..options.calls {
        let before = Instant::now();
        while before.elapsed() < work {}
        let called = Instant::now();
        steps.call()?;
        latencies.push(called.elapsed().as_secs_f64() * 1e6);
        steps.undo()?;
    }
    Ok((latencies, start.elapsed()))
}

/// A container that waits to be told to begin.
pub struct Container {
    child: Child,
    socket: UnixStream,
}

impl Container {
    /// Starts the process; there is no listener if it is native.
    pub fn start(options: Options) -> anyhow::Result<(Self, Option<Listener>)> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("caller");
        command.args([options.calls, options.threads, options.work].map(|number| number.to_string()));
        if options.native {
            command.arg("--native");
        }
        if let Some(deed) = options.deed.to_possible_value() {
            command.arg("--deed").arg(deed.get_name());
        }
        let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).spawn()?;
        let listener = if options.native { None } else { Some(passing::receive(&socket)?) };
        Ok((Self { child, socket }, listener))
    }

    /// Lets it call.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(b"g").context("the container has ended")
    }

    /// Waits until it has.
    pub fn finish(mut self) -> anyhow::Result<Measured> {
        let mut text = String::new();
        self.child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        ensure!(self.child.wait()?.success(), "the container failed");
        serde_json::from_str(&text).context("reading what the container measured")
    }

    /// Begins and finishes.
    pub fn measure(mut self) -> anyhow::Result<Measured> {
        self.begin()?;
        self.finish()
    }
}
