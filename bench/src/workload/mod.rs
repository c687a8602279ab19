//! What being recorded costs programs that do something, beside having them traced: a server under load, and a compiler.

mod compile;
mod server;

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context;
use seccomp_agent_agent::{Config, Engine};
use seccomp_agent_launcher::{Container, Filter, Launcher};
use seccomp_agent_recorder::{Observe, Recorder, Recording};
use seccomp_agent_registry::{Container as Named, Registry};

use crate::Effort;
use crate::report::{Bound, Report};

/// The most that a start may take of which all is known, beside one that nobody watches.
const BOUND: f64 = 1.03;

/// A program that does something.
trait Workload {
    /// Its command.
    fn command(&self) -> Vec<OsString>;

    /// Has it do a piece of its work, in the container that `start` starts, or has started; how long that took, in
    /// milliseconds.
    fn work(&mut self, start: &dyn Fn() -> anyhow::Result<Container>) -> anyhow::Result<f64>;
}

/// A program and how it is measured.
struct Subject {
    name: &'static str,
    what: &'static str,
    /// How many pieces of work are a round: the shorter a piece, the sooner one is not disturbed by anybody.
    pieces: usize,
    make: fn() -> anyhow::Result<Box<dyn Workload>>,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        name: "nginx",
        what: "nginx, 500 requests",
        pieces: 40,
        make: || Ok(Box::new(server::Server::new()?)),
    },
    Subject {
        name: "compiler",
        what: "cc, one file compiled",
        pieces: 12,
        make: || Ok(Box::new(compile::Compiler::new()?)),
    },
];

/// Who watches.
#[derive(Clone, Copy)]
enum Watch<'a> {
    Nobody,
    /// The agent, under the profile that notifies what is not in this recording.
    Recorder(&'a Recording),
    /// strace, with these options.
    Strace(&'a [&'a str]),
}

/// Counts the calls of all processes. The filter is made only where something is not to be counted.
const STRACE: [(&str, &[&str]); 2] =
    [("strace -f --seccomp-bpf -c", &["--seccomp-bpf", "-e", "trace=!getppid"]), ("strace -f -c", &[])];

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        report.heading("recorded workloads: NOT MEASURED, they take root");
        return Ok(());
    }
    SUBJECTS.iter().try_for_each(|subject| one(effort, report, subject))
}

fn one(effort: Effort, report: &mut Report, subject: &Subject) -> anyhow::Result<()> {
    let (rounds, pieces) = (effort.rounds, subject.pieces);
    report.heading(&format!("{} (best of {rounds} x {pieces}, in turns)", subject.what));
    let nothing = Recording::new();
    // Two starts, which leave nothing that the third would ask about.
    let mut known = recorded(subject, &nothing)?;
    known.merge(&recorded(subject, &known)?);

    let mut nobody = Watched::new(subject, Watch::Nobody)?;
    let mut third = Watched::new(subject, Watch::Recorder(&known))?;
    for _ in 0..rounds * pieces {
        nobody.work()?;
        third.work()?;
    }
    // Slower by far, and only there to compare with.
    let traced = STRACE.map(|(name, options)| (name, Watch::Strace(options)));
    let mut others = Vec::new();
    for (name, watch) in
        [("first start: every call notified", Watch::Recorder(&nothing))].into_iter().chain(traced)
    {
        others.push((name, Watched::new(subject, watch)?));
    }
    for _ in 0..rounds {
        others.iter_mut().try_for_each(|(_, watched)| watched.work())?;
    }
    let floor = nobody.best;
    report.add(subject.name, "nobody watches", floor, "ms", Bound::None);
    report.add(subject.name, "third start", third.best, "ms", Bound::AtMost { floor, times: BOUND });
    for (name, watched) in others {
        report.add(subject.name, name, watched.best, "ms", Bound::Beside { floor });
    }
    Ok(())
}

/// What one start shows.
fn recorded(subject: &Subject, known: &Recording) -> anyhow::Result<Recording> {
    let mut watched = Watched::new(subject, Watch::Recorder(known))?;
    for _ in 0..subject.pieces {
        watched.work()?;
    }
    Ok(watched.recorder.recording())
}

/// A program that works, and somebody who watches.
struct Watched<'a> {
    // Dropped first, and with it the container: who answers it outlives it.
    workload: Box<dyn Workload>,
    watch: Watch<'a>,
    recorder: Recorder,
    engine: Engine,
    /// The least that a piece of work took, in milliseconds.
    best: f64,
}

impl<'a> Watched<'a> {
    fn new(subject: &Subject, watch: Watch<'a>) -> anyhow::Result<Self> {
        let (workload, engine) = ((subject.make)()?, Engine::start(Config::default())?);
        Ok(Self { workload, watch, recorder: Recorder::new(), engine, best: f64::MAX })
    }

    fn work(&mut self) -> anyhow::Result<()> {
        let Self { workload, watch, recorder, engine, best } = self;
        let command = workload.command();
        *best = best.min(workload.work(&|| start(&command, *watch, recorder, engine))?);
        Ok(())
    }
}

fn start(
    command: &[OsString],
    watch: Watch<'_>,
    recorder: &Recorder,
    engine: &Engine,
) -> anyhow::Result<Container> {
    let options: &[&str] = if let Watch::Strace(options) = watch { options } else { &[] };
    let is_traced = matches!(watch, Watch::Strace(_));
    let strace = ["strace", "-f", "-c", "-o", "/dev/null"].iter().filter(|_| is_traced).chain(options);
    let mut launcher = Launcher::new(strace.map(OsString::from).chain(command.iter().cloned()));
    if let Watch::Recorder(known) = watch {
        let profile = Observe::new("bench".parse()?, "/").unknown(known);
        launcher = launcher.filter(Filter::new(&profile)?);
    }
    let mut container = launcher.launch().context("starting what is measured")?;
    if let Some(listener) = container.take_listener() {
        let mut registry = Registry::new();
        recorder.attach(&mut registry);
        engine.serve(listener, Arc::new(Named::named("bench")), Arc::new(registry))?;
    }
    Ok(container)
}
