//! What the agent costs, beside the least that it could cost in the same run.
//!
//! An idle machine's plain wake-up takes many times what a busy one's takes, so no figure means anything alone.
//! Every benchmark here measures the agent and a *floor*, the shortest program that does the same, in turns,
//! takes medians, and holds their ratio against a bound.

mod bare;
mod caller;
mod deed;
mod emulated;
mod floor;
mod idle;
mod mounting;
mod passing;
mod peers;
mod recording;
mod report;
mod round_trip;
mod server;
mod start;
mod throughput;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use report::Report;

/// Measures the agent against the floor of the same run; exits with 1 if a bound is broken
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Args {
    /// Only this benchmark
    #[arg(value_enum)]
    name: Option<Name>,
    /// How to print the figures
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// One continued call: native, bare loop, agent
    RoundTrip,
    /// One recorded call, and what a recorded container takes
    Recording,
    /// Calls that are made for an unprivileged container: mkdir, mknod, chmod. Needs root
    Emulated,
    /// Mounts that are made for an unprivileged container: procfs. Needs root
    Mounting,
    /// Calls a second: 1, 4 and 8 threads, 8 containers, beside 1,000 idle listeners
    Throughput,
    /// From connecting to the first answer, one container at a time and 1,000 at once
    Start,
    /// A server under load and a compiler, recorded and traced. Needs root, nginx, a compiler and strace
    Workload,
    /// What 1,000 idle listeners cost, and what 10,000 leave behind
    Idle,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What the program does when a benchmark starts it as another process.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Caller(caller::Options),
    #[command(hide = true)]
    Floor { socket: PathBuf },
    #[command(hide = true)]
    Peers(peers::Options),
    #[command(hide = true)]
    Started { calls: u32 },
}

/// How thoroughly to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    calls: u32,
    /// What bounds are multiplied with.
    slack: f64,
    /// How often to measure what breaks a bound, until it holds.
    attempts: u32,
}

impl Effort {
    /// A short run where CI asks for one: enough to catch what is badly wrong on a machine that does other work.
    fn asked_for() -> Self {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            Self { rounds: 5, calls: 5_000, slack: 1.5, attempts: 3 }
        } else {
            Self { rounds: 9, calls: 20_000, slack: 1.0, attempts: 1 }
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = seccomp_agent_launcher::run_if_init() {
        return Ok(code);
    }
    let args = Args::parse();
    match args.role {
        Some(Role::Caller(options)) => caller::run(&options).map(|()| ExitCode::SUCCESS),
        Some(Role::Floor { socket }) => floor::serve(&socket).map(|()| ExitCode::SUCCESS),
        Some(Role::Peers(options)) => peers::run(&options).map(|()| ExitCode::SUCCESS),
        Some(Role::Started { calls }) => emulated::count_started(calls).map(|()| ExitCode::SUCCESS),
        None => measure(args.name, args.output),
    }
}

/// What measures, and adds its figures.
type Benchmark = fn(Effort, &mut Report) -> anyhow::Result<()>;

fn measure(name: Option<Name>, output: Output) -> anyhow::Result<ExitCode> {
    let effort = Effort::asked_for();
    let wanted = |which| name.is_none_or(|name| name == which);
    seccomp_agent_agent::raise_descriptor_limit();
    let mut report = Report::new(effort.slack, output == Output::Text);
    let all: [(Name, Benchmark); 8] = [
        (Name::RoundTrip, round_trip::measure),
        (Name::Recording, recording::measure),
        (Name::Emulated, emulated::measure),
        (Name::Mounting, mounting::measure),
        (Name::Throughput, throughput::measure),
        (Name::Start, start::measure),
        (Name::Workload, workload::measure),
        (Name::Idle, |_, report| idle::measure(report)),
    ];
    for (_, benchmark) in all.into_iter().filter(|(name, _)| wanted(*name)) {
        let before = report.len();
        benchmark(effort, &mut report)?;
        for _ in 1..effort.attempts {
            if report.holds_from(before) {
                break;
            }
            // What else the machine does falls on one of several attempts; what is slow is slow in all.
            report.again(before);
            benchmark(effort, &mut report)?;
        }
    }
    if output == Output::Json {
        println!("{}", report.to_json()?);
    }
    Ok(if report.holds_from(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
