//! The developer's commands, run as `cargo xtask COMMAND`.
//!
//! `demo` shows what the agent does, `test` runs the tests by tier, `bench` measures, and `ci` is everything
//! that a change has to pass.

mod build;
mod ci;
mod command;
mod demo;
mod fuzz;
#[cfg(test)]
mod house;
mod newer_debian;
mod node;
mod test;
mod tier;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Developer commands of the seccomp agent", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the agent answering the calls of containers, and check each answer
    ///
    /// Builds the agent, shows everything under runc with the agent beside it, and again under `seccomp-agent
    /// run`, and removes everything afterwards. As root it installs what is missing by apt: runc and a static
    /// busybox. Without root there is the second half, and busybox has to be there. Exits with 1 if an answer is
    /// wrong.
    Demo,
    /// Run the tests of one tier, or of all
    ///
    /// Ends with the line `N passed, N failed, N skipped`. A tier that cannot run here is named loudly, and is
    /// a failure if it was asked for by name or if CI=true.
    Test(test::Options),
    /// Measure, against the bounds that hold (package seccomp-agent-bench); CI=true makes it short
    #[command(disable_help_flag = true)]
    Bench {
        /// The benchmark's name and options; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Look for inputs that break a parser of outside bytes, with cargo-fuzz and a nightly compiler
    ///
    /// Installs cargo-fuzz below the target directory if it is missing. The tests replay fuzz/corpus without either.
    Fuzz(fuzz::Options),
    /// Everything that a change has to pass: format, lints, licences, documentation, packages, tests, benchmarks
    ///
    /// Shows the seconds that each step takes, goes on after a failure, and exits with 1 if there was one.
    Ci,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Command::Test(options) => test::run(&options),
        Command::Bench { arguments } => {
            // What takes root is not measured without.
            let installed = if tools::is_root() { tools::install(tools::MEASURED) } else { Ok(()) };
            // What is measured beside the engine is the agent as it is shipped.
            installed
                .and_then(|()| build::released_agent())
                .and_then(|_| {
                    command::cargo(["run", "--quiet", "--release", "--package", "seccomp-agent-bench", "--"])
                })
                .and_then(|mut bench| command::run(bench.args(arguments)))
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Fuzz(options) => fuzz::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Ci => ci::run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
