//! The `seccomp-agent` binary: puts the crates together. What it does is in them.

mod args;
mod cluster;
mod config;
mod doctor;
mod enforcing;
mod falco;
mod help;
mod inherited;
mod launch;
mod log;
mod metrics;
mod oci_runtime;
mod output;
mod policy;
mod profile;
mod record;
mod recordings;
mod reload;
mod resolve;
mod run;
mod sandbox;
mod serve;
mod table;
mod time;
mod watching;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use config::ConfigError;
use seccomp_agent_launcher::LaunchError;
use seccomp_agent_policy::PolicyError;

/// The exit status for a command line or a configuration that cannot be understood; clap's own is the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(code) = seccomp_agent_launcher::run_if_init() {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    let (outcome, failure) = match args.command {
        Command::Serve(options) => (serve::serve(&options).map(|()| 0), 1),
        Command::Policy(options) => (policy::policy(&options).map(|()| 0), 1),
        Command::Run(options) => (run::run(&options), run::OWN_FAILURE),
        Command::Record(options) => (record::record(&options), run::OWN_FAILURE),
        Command::Recordings(options) => (recordings::recordings(&options).map(|()| 0), 1),
        Command::Profile(options) => (profile::profile(&options), options.failure()),
        Command::Completion(options) => (help::completion(&options).map(|()| 0), 1),
        Command::Man(options) => (help::man(&options).map(|()| 0), 1),
        Command::Doctor(options) => (doctor::doctor(&options), 1),
        Command::OciRuntime(options) => (oci_runtime::run(&options).map(|()| 0), 1),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            report(&error);
            let is_usage = error.is::<ConfigError>() || error.is::<PolicyError>();
            let is_usage = is_usage && failure != run::OWN_FAILURE;
            ExitCode::from(if is_usage || error.is::<profile::Unusable>() {
                USAGE
            } else {
                error.downcast_ref::<LaunchError>().map_or(failure, LaunchError::exit_status)
            })
        }
    }
}

/// Help, a version, or what is wrong with the command line. The status of `run` and `record` is their command's,
/// so that they have one of their own for this.
fn refuse(error: &clap::Error) -> ExitCode {
    // Where nobody reads it, nobody misses it.
    let _printed = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run" || word == "record");
    match (error.use_stderr(), is_run) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(run::OWN_FAILURE),
        (true, false) => ExitCode::from(USAGE),
    }
}

/// One line on stderr, with all causes: the log may not be set up yet, or be JSON for a machine.
#[allow(clippy::print_stderr)] // This is the program's own last word.
fn report(error: &anyhow::Error) {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Most errors say their cause themselves.
        if !line.ends_with(&cause) {
            line.extend([": ", &cause]);
        }
    }
    eprintln!("seccomp-agent: {line}");
}
