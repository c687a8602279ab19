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

/// How often those are measured that are only there to compare with.
const PEERS: usize = 3;

/// A program that does something.
trait Workload {
    /// Its command.
    fn command(&self) -> Vec<OsString>;

    /// Has it work to its end, or to where it is killed; how long that took, in milliseconds.
    fn work(&self, start: &dyn Fn() -> anyhow::Result<Container>) -> anyhow::Result<f64>;
}

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
    one(effort, report, "nginx", "recorded nginx, 8,000 requests", &|| Ok(Box::new(server::Server::new()?)))?;
    one(effort, report, "compiler", "recorded compiler, 3 files", &|| Ok(Box::new(compile::Compiler::new()?)))
}

type Make<'a> = &'a dyn Fn() -> anyhow::Result<Box<dyn Workload>>;

fn one(effort: Effort, report: &mut Report, group: &str, what: &str, make: Make<'_>) -> anyhow::Result<()> {
    let rounds = effort.rounds;
    report.heading(&format!("{what} (best of {rounds}, in turns; of {PEERS} of the others)"));
    let nothing = Recording::new();
    // Two starts, which leave nothing that the third would ask about.
    let (mut known, _) = run(make, Watch::Recorder(&nothing))?;
    known.merge(&run(make, Watch::Recorder(&known))?.0);

    let best = |before: f64, watch| Ok::<_, anyhow::Error>(run(make, watch)?.1.min(before));
    let (mut nobody, mut third, mut first) = (f64::MAX, f64::MAX, f64::MAX);
    let mut traced = [f64::MAX; STRACE.len()];
    for round in 0..rounds {
        // In turns first, so that what comes after the others is not always the same.
        if round % 2 == 0 {
            nobody = best(nobody, Watch::Nobody)?;
        }
        third = best(third, Watch::Recorder(&known))?;
        if round % 2 == 1 {
            nobody = best(nobody, Watch::Nobody)?;
        }
        if round < PEERS {
            first = best(first, Watch::Recorder(&nothing))?;
            for (value, (_, options)) in traced.iter_mut().zip(STRACE) {
                *value = best(*value, Watch::Strace(options))?;
            }
        }
    }
    let beside = Bound::Beside { floor: nobody };
    report.add(group, "nobody watches", nobody, "ms", Bound::None);
    report.add(group, "third start", third, "ms", Bound::AtMost { floor: nobody, times: BOUND });
    report.add(group, "first start: every call notified", first, "ms", beside);
    for (value, (name, _)) in traced.into_iter().zip(STRACE) {
        report.add(group, name, value, "ms", beside);
    }
    Ok(())
}

/// What was recorded of it, and how long it worked.
fn run(make: Make<'_>, watch: Watch<'_>) -> anyhow::Result<(Recording, f64)> {
    let workload = make()?;
    let recorder = Recorder::new();
    let engine = Engine::start(Config::default())?;
    let start = || {
        let mut command = workload.command();
        if let Watch::Strace(options) = watch {
            let strace = ["strace", "-f", "-c", "-o", "/dev/null"].iter().chain(options);
            command = strace.map(OsString::from).chain(command).collect();
        }
        let mut launcher = Launcher::new(command);
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
    };
    let took = workload.work(&start)?;
    Ok((recorder.recording(), took))
}
