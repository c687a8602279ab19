//! The `seccomp-agent` binary: puts the crates together. What it does is in them.

mod args;
mod config;
mod inherited;
mod log;
mod metrics;
mod oci_runtime;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use config::ConfigError;

/// The exit status for a command line or a configuration that cannot be understood; clap's own is the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Command::Serve(options) => serve::serve(&options),
        Command::OciRuntime(options) => oci_runtime::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            if error.is::<ConfigError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// One line on stderr, with all causes: the log may not be set up yet, or be JSON for a machine.
#[allow(clippy::print_stderr)] // This is the program's own last word.
fn report(error: &anyhow::Error) {
    eprintln!("seccomp-agent: {error:#}");
}
