//! Calls that are made for a container: what one costs, that it costs no process, and what eight containers
//! at once get done.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustix::thread::gettid;
use seccomp_agent_agent::{Config, Engine};
use seccomp_agent_notify::Listener;
use seccomp_agent_registry::{Container, Registry};
use seccomp_agent_sandbox::confine_agent;

use crate::Effort;
use crate::bare;
use crate::caller::{self, Options};
use crate::deed::Deed;
use crate::floor;
use crate::mounting;
use crate::report::{Bound, Report, median};

/// And as a multiple of the same by threads that no filter confines, as those of `serve` are unless told otherwise.
const CONFINED_BOUND: f64 = 1.3;

const DEEDS: [Deed; 3] = [Deed::Mkdir, Deed::Mknod, Deed::Chmod];

/// The most that an emulated call may take, as a multiple of the loop that continues every call. The goal is 8; the
/// fewest system calls that act as somebody else take 5 to 8 themselves.
const BOUND: f64 = 12.0;

/// And as a multiple of these: what it costs that nothing is taken for granted.
const LEAST_BOUND: f64 = 2.0;

/// How many tasks one call starts: none. A worker may be started while a call takes milliseconds, as it does where
/// other programs have the processor.
const STARTED_BOUND: f64 = 0.01;

/// How much more eight containers get done than one, on two processors.
const AT_ONCE: usize = 8;
const AT_ONCE_BOUND: f64 = 1.5;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        report.heading("emulated calls: NOT MEASURED, they take root");
        return Ok(());
    }
    latencies(effort, report)?;
    processes(effort, report)?;
    at_once(effort, report)
}

fn latencies(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading(&format!(
        "one call of an unprivileged container on tmpfs (median of {}, in turns)",
        effort.rounds
    ));
    let mut floors = Vec::new();
    let mut seen = DEEDS.map(|_| [const { Vec::new() }; 4]);
    for _ in 0..effort.rounds {
        floors.push(answered_by(Options::back_to_back(effort.calls, 1), floor::answer)?);
        for (deed, [natives, bare, emulated, confined]) in DEEDS.into_iter().zip(&mut seen) {
            let options = Options { deed, ..Options::back_to_back(effort.calls, 1) };
            natives.push(native(options)?);
            bare.push(answered_by(options, move |listener| bare::act(listener, deed))?);
            emulated.push(served(&[options])?.0);
            confined.push(served_by(&engine(true)?, &[options])?.0);
        }
    }
    let floor = median(floors);
    report.add("emulated", "RECV/SEND loop, SYNC_WAKE_UP", floor, "us", Bound::None);
    for (deed, [natives, bare, emulated, confined]) in DEEDS.into_iter().zip(seen) {
        let (name, least) = (deed.name(), median(bare));
        report.add("emulated", &format!("{name}: native"), median(natives), "us", Bound::None);
        let what = format!("{name}: by the fewest system calls");
        report.add("emulated", &what, least, "us", Bound::Beside { floor });
        let (emulated, bound) = (median(emulated), Bound::AtMost { floor, times: BOUND });
        report.add("emulated", &format!("{name}: emulated"), emulated, "us", bound);
        let bound = Bound::AtMost { floor: least, times: LEAST_BOUND };
        report.add("emulated", &format!("{name}: against the fewest calls"), emulated, "us", bound);
        let bound = Bound::AtMost { floor: emulated, times: CONFINED_BOUND };
        report.add("emulated", &format!("{name}: by confined threads"), median(confined), "us", bound);
    }
    Ok(())
}

/// The latency of a container whose listener a thread has for itself.
pub fn answered_by(
    options: Options,
    answer: impl FnOnce(&Listener) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<f64> {
    let (container, listener) = caller::Container::start(options)?;
    let listener = listener.context("no listener")?;
    listener.set_sync_wake_up()?;
    let answering = std::thread::spawn(move || answer(&listener));
    let measured = container.measure()?;
    answering.join().map_err(|_| anyhow::anyhow!("the loop panicked"))??;
    Ok(measured.latency)
}

pub fn native(options: Options) -> anyhow::Result<f64> {
    Ok(caller::Container::start(Options { native: true, ..options })?.0.measure()?.latency)
}

/// One engine for these containers, all at once: the first one's latency in microseconds, and the calls a
/// second of all.
pub fn served(containers: &[Options]) -> anyhow::Result<(f64, f64)> {
    served_by(&engine(false)?, containers)
}

/// An engine. The threads of a confined one have the filters of `serve`: what holds for the thread that starts them holds
/// for them.
pub fn engine(confined: bool) -> anyhow::Result<Engine> {
    if !confined {
        return Ok(Engine::start(Config::default())?);
    }
    let starting = std::thread::spawn(|| {
        confine_agent()?;
        anyhow::Ok(Engine::start(Config::default())?)
    });
    starting.join().map_err(|_| anyhow::anyhow!("starting an engine panicked"))?
}

fn served_by(engine: &Engine, containers: &[Options]) -> anyhow::Result<(f64, f64)> {
    let mut started = Vec::new();
    for options in containers {
        started.push(serve(engine, *options, options.deed.emulation()?)?);
    }
    for container in &mut started {
        container.begin()?;
    }
    let measured: Vec<_> =
        started.into_iter().map(caller::Container::finish).collect::<anyhow::Result<_>>()?;
    Ok((measured[0].latency, measured.iter().map(|measured| measured.rate).sum()))
}

fn serve(engine: &Engine, options: Options, registry: Registry) -> anyhow::Result<caller::Container> {
    let (container, listener) = caller::Container::start(options)?;
    let listener = listener.context("no listener")?;
    engine.serve(listener, Arc::new(Container::named("bench")), Arc::new(registry))?;
    Ok(container)
}

fn at_once(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading(&format!("emulated calls a second, in thousands (median of {}, in turns)", effort.rounds));
    for deed in DEEDS {
        let options = Options { deed, ..Options::back_to_back(effort.calls, 1) };
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            alone.push(served(&[options])?.1 / 1e3);
            together.push(served(&[options; AT_ONCE])?.1 / 1e3);
        }
        let (name, floor) = (deed.name(), median(alone));
        report.add("emulated", &format!("{name}: one container"), floor, "k/s", Bound::None);
        let bound = Bound::AtLeast { floor, times: AT_ONCE_BOUND };
        let what = format!("{name}: {AT_ONCE} containers at once");
        report.add("emulated", &what, median(together), "k/s", bound);
    }
    Ok(())
}

/// Counts in a pid namespace of its own, where nobody else starts anything.
fn processes(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    report.heading("processes and threads that come and go while calls are made for a container");
    let mut alone = Command::new("unshare");
    alone.args(["--pid", "--fork", "--mount-proc"]).arg(std::env::current_exe()?).arg("started");
    let output = alone.arg(effort.calls.to_string()).stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "counting failed");
    let started: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    #[allow(clippy::cast_precision_loss)] // A small number.
    let calls = f64::from(effort.calls) * DEEDS.len() as f64;
    report.add("emulated", "of a call", started / calls, "", Bound::Limit(STARTED_BOUND));
    Ok(())
}

/// In a pid namespace of its own: prints how many tasks were born that are no threads of the engine, while
/// containers were served.
pub fn count_started(calls: u32) -> anyhow::Result<()> {
    let engine = Engine::start(Config::default())?;
    let mut started = 0;
    let mounts = mounting::DEEDS.map(|deed| (deed, calls / mounting::FEWER));
    for (deed, calls) in DEEDS.map(|deed| (deed, calls)).into_iter().chain(mounts) {
        let options = Options { deed, ..Options::back_to_back(calls, 1) };
        let container = serve(&engine, options, deed.emulation()?)?;
        let (first, threads) = (next_task()?, threads()?);
        let _measured = container.measure()?;
        let born = next_task()? - first - 1;
        // The container makes its calls on one thread that it starts when it is told to begin.
        started += born - 1 - self::threads()?.difference(&threads).count();
    }
    println!("{started}");
    Ok(())
}

/// The number of a new task: numbers are given out in turn.
fn next_task() -> anyhow::Result<usize> {
    let thread = std::thread::spawn(|| gettid().as_raw_nonzero().get());
    let number = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    Ok(usize::try_from(number)?)
}

/// The threads of this process.
fn threads() -> anyhow::Result<BTreeSet<String>> {
    let tasks = std::fs::read_dir("/proc/self/task")?;
    tasks.map(|task| Ok(task?.file_name().to_string_lossy().into_owned())).collect()
}
