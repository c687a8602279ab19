use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Context;
use rustix::io::Errno;
use seccomp_agent_launcher::Filter;
use seccomp_agent_notify::Arch;
use seccomp_agent_profile::{Action, NormalForm, Profile, Warning};
use seccomp_agent_registry::{Container, Registry};
use serde::Serialize;

use super::Unusable;
use super::refusals::{Refusals, Refused};
use crate::args::{LogFormat, LogLevel, OutputFormat};
use crate::launch::{Answerer, ContainerArgs, Running};
use crate::log;
use crate::output;
use crate::run::profile;
use crate::table::{Side, Table};

/// The options of `profile verify`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run a command, and tell which of its calls a profile would refuse\n\n\
    The command REALLY RUNS, and nothing of what it does is refused: it is in a container as with `run`, but every call \
    goes on, and is compared with the profile. So one run shows everything that is missing, and not only the first \
    call that fails. Then each call that the profile would refuse is on standard error: how often it was made, what the \
    profile does to it, which program made it, and with which arguments, where the profile looks at these. What a \
    container runtime needs itself is not part of it. Notified calls are not refused.\n\n\
    With --output json the report is on standard output, and what the command writes there goes to standard error.",
    after_help = "Exit status: 0 nothing would be refused, whatever the command's own status, which is in the report; \
    1 something would be; 2 usage, or the profile cannot be used; 125 failure of this program, 126 COMMAND cannot be \
    executed, 127 COMMAND is not found."
)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    container: ContainerArgs,
    /// How to write the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    /// The profile, in the JSON of the OCI runtime specification
    file: PathBuf,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What the report says, as JSON.
#[derive(Serialize)]
struct Report {
    /// Of the command.
    exit_status: u8,
    refused: Vec<Refused>,
}

/// Something would be refused.
const REFUSED: u8 = 1;

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<u8> {
    log::init(LogFormat::Text, LogLevel::Warn)?;
    let refusals = Refusals::of(meaning(&args.file)?);
    let filter =
        Filter::new(&profile::everything()).context("the profile that notifies everything is not loaded")?;
    // Before the command inherits it.
    let stdout = (args.output == OutputFormat::Json).then(take_stdout).transpose()?;

    let registry = |_: &Container| {
        let mut registry = Registry::new();
        registry.otherwise(refusals.clone());
        Ok(registry)
    };
    let launcher = args.container.launcher(&args.command).filter(filter);
    let container = args.container.describe(format!("verify-{}", std::process::id()))?;
    let answerer = Answerer::Here { workers: None, registry: &registry };
    let mut running = Running::start(&launcher, container, &answerer)?;
    let ended = running.wait(None)?;
    running.stop();

    let report = Report { exit_status: ended.exit_status(), refused: refusals.all() };
    match stdout {
        Some(stdout) => {
            output::write(File::from(stdout), serde_json::to_string_pretty(&report)? + "\n")?;
        }
        None => show(&report),
    }
    Ok(if report.refused.is_empty() { 0 } else { REFUSED })
}

/// What the profile means here, as runc loads it.
fn meaning(file: &std::path::Path) -> anyhow::Result<NormalForm> {
    let profile: Profile = profile::read(file).context(Unusable)?;
    let resolution = profile.resolve(Arch::native());
    let is_usual = |warning: &Warning| {
        matches!(warning, Warning::NotOnArchitecture { .. } | Warning::ForeignArchitecture { .. })
    };
    for warning in resolution.warnings.iter().filter(|warning| !is_usual(warning)) {
        tracing::warn!("{}: {warning}", file.display());
    }
    let meaning = resolution.normal_form;
    // As the launcher: what is asked for by default includes what nobody knows yet.
    let asks = profile.default_action == Action::Notify;
    Ok(if asks { meaning } else { meaning.with_enosys_for_unknown() })
}

/// Standard output, in the place of which the command gets standard error.
fn take_stdout() -> Result<OwnedFd, Errno> {
    let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(stdout)
}

#[allow(clippy::print_stderr)] // Standard output is the command's.
fn show(report: &Report) {
    let mut table = Table::new([
        ("count", Side::Right),
        ("call", Side::Left),
        ("would be", Side::Left),
        ("callers", Side::Left),
        ("arguments", Side::Left),
    ]);
    for refused in &report.refused {
        let arch = Some(&refused.architecture).filter(|arch| **arch != Arch::native().to_string());
        let arch = arch.map(|arch| format!(" ({arch})")).unwrap_or_default();
        let callers: Vec<_> = refused.callers.iter().map(ToString::to_string).collect();
        table.row([
            refused.count.to_string(),
            format!("{}{arch}", refused.call),
            refused.action.clone(),
            callers.join(" "),
            refused.examples(),
        ]);
    }
    let status = report.exit_status;
    match report.refused.len() {
        0 => eprintln!("nothing would be refused; the command ended with status {status}"),
        count => {
            let plural = if count == 1 { "" } else { "s" };
            eprintln!("{table}{count} call{plural} would be refused; the command ended with status {status}");
        }
    }
}
