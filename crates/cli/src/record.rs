//! `seccomp-agent record`: runs a command, counts its calls, and makes a profile of them.

mod bundle;
mod progress;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use seccomp_agent_launcher::{Ended, Filter};
use seccomp_agent_notify::Arch;
use seccomp_agent_recorder::{Name, Recorder, Recording};
use seccomp_agent_registry::{Container, Registry};
use seccomp_agent_syscall::Syscall;

use crate::args::{LogFormat, LogLevel};
use crate::enforcing::{self, EnforceArgs};
use crate::launch::foreground::Meanwhile;
use crate::launch::{Answerer, ContainerArgs, Running};
use crate::log;
use crate::profile::Runtime;
use crate::recordings::directory::Directory;
use crate::run::profile;
use crate::table::{Side, Table};
use crate::time::Span;
use progress::{Deadline, Progress, TICK};

/// The options of `record`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run a command, count its system calls, and make a seccomp profile of them\n\n\
    The command really runs, in a container as with `run`, and every call of it is notified, counted and continued. \
    At the end a table of counts is on stderr. The profile allows what was seen, what the container runtime needs, \
    and what no run has to show; everything else fails with EPERM, or as --default-action says. FILE.provenance.json \
    beside FILE.json says why each call is allowed. On a terminal, a line says meanwhile what was seen so far.\n\n\
    With --bundle, an OCI bundle is run by a container runtime instead, under a profile that notifies all that this \
    runtime can have notified, in place of its own: nothing is refused. The bundle itself stays as it is.",
    override_usage = "seccomp-agent record [OPTIONS] [--] COMMAND…\n       seccomp-agent record [OPTIONS] --bundle DIR",
    after_help = "Exit status: that of COMMAND, or of the runtime, or 128 and the signal that ended it; 125 failure of this program, \
    126 COMMAND cannot be executed, 127 COMMAND is not found."
)]
pub(crate) struct RecordArgs {
    /// Write the profile here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    enforce: EnforceArgs,
    /// Add the run to the recording of this name, and make the profile of all its runs
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    directory: Directory,
    /// End the command after so long, such as 30s, 10m or 1h: by SIGTERM, and 5 s later by SIGKILL
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// Run the container of this OCI bundle
    #[arg(long, value_name = "DIR", conflicts_with_all = ["rootfs", "user", "cap_add", "cap_drop", "new_privs", "command"])]
    bundle: Option<PathBuf>,
    /// By this runtime
    #[arg(long, value_enum, value_name = "RUNTIME", default_value = "runc", conflicts_with = "command")]
    runtime: Runtime,
    #[command(flatten)]
    container: ContainerArgs,
    /// The command and its arguments
    #[arg(required_unless_present = "bundle", trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a recording says of the runtime whose work this program does.
const RUNTIME: &str = "seccomp-agent";

/// Runs the command and returns its exit status.
pub(crate) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    log::init(LogFormat::Text, LogLevel::Warn)?;
    let enforce = args.enforce.enforce()?;
    args.output.as_deref().map(enforcing::check_place).transpose()?;
    let store = args.name.as_ref().map(|_| args.directory.open()).transpose()?;

    let recorder = Recorder::new();
    let mut progress = Progress::on_terminal(&recorder);
    let mut deadline = args.duration.map(|Span(duration)| Deadline::after(duration));
    let has_work = progress.is_some() || deadline.is_some();
    let mut act = || {
        progress.iter_mut().for_each(Progress::show);
        deadline.as_mut().and_then(Deadline::due)
    };
    let meanwhile = has_work.then_some(Meanwhile { every: TICK, act: &mut act });
    let (ended, runtime) = match &args.bundle {
        Some(bundle) => {
            let ended = bundle::run(bundle, args.runtime, &recorder, meanwhile)?;
            (ended, args.runtime.program())
        }
        None => (launch(args, &recorder, meanwhile)?, RUNTIME),
    };
    drop(progress);

    let mut recording = recorder.recording().by_runtime(runtime);
    if !has_program(&recording) {
        tracing::warn!("the program did not start: nothing was recorded, and nothing is written");
        return Ok(ended.exit_status());
    }
    // What was seen is shown and written, whatever cannot be: it may have taken long.
    let mut kept = Ok(());
    if let (Some(store), Some(name)) = (store, &args.name) {
        match store.add(name, &recording) {
            Ok(all) => recording = all,
            Err(error) => kept = Err(error),
        }
    }
    show(&recording);
    if args.output.is_some() {
        enforcing::write(&enforce, &recording, args.output.as_deref())?;
    }
    kept?;
    Ok(ended.exit_status())
}

/// Whether a program was started and seen. While no `execve` was notified, all calls are a runtime's.
fn has_program(recording: &Recording) -> bool {
    let calls = recording.calls();
    let is_execute = |syscall: &Syscall| matches!(syscall.name(), Some("execve" | "execveat"));
    calls.keys().any(is_execute) && calls.values().any(|seen| seen.count > seen.starting)
}

/// Runs the command by the embedded launcher.
fn launch(args: &RecordArgs, recorder: &Recorder, meanwhile: Option<Meanwhile<'_>>) -> anyhow::Result<Ended> {
    let filter =
        Filter::new(&profile::everything()).context("the profile that notifies everything is not loaded")?;
    let registry = |_: &Container| {
        let mut registry = Registry::new();
        recorder.attach(&mut registry);
        Ok(registry)
    };
    let launcher = args.container.launcher(&args.command).filter(filter);
    let container = args.container.describe(format!("record-{}", std::process::id()))?;
    let answerer = Answerer::Here { workers: None, registry: &registry };
    let mut running = Running::start(&launcher, container, &answerer)?;
    let ended = running.wait(meanwhile)?;
    running.stop();
    Ok(ended)
}

#[allow(clippy::print_stderr)] // What the user asked to see; stdout is the command's.
fn show(recording: &Recording) {
    eprint!("{}", table(recording));
}

/// What the program did, the most frequent call first.
fn table(recording: &Recording) -> Table {
    let calls = recording.calls().into_iter().filter(|(_, seen)| seen.count > seen.starting);
    let mut rows: Vec<_> =
        calls.map(|(syscall, seen)| (seen.count - seen.starting, seen.runs, syscall)).collect();
    rows.sort_unstable_by_key(|(count, _, syscall)| (std::cmp::Reverse(*count), *syscall));
    let headings = [("count", Side::Right), ("runs", Side::Right), ("call", Side::Left)];
    let mut table = Table::new(headings);
    for (count, runs, syscall) in rows {
        let arch = Some(syscall.arch).filter(|arch| *arch != Arch::native());
        let arch = arch.map(|arch| format!(" ({arch})")).unwrap_or_default();
        table.row([count.to_string(), format!("{runs} of {}", recording.runs()), format!("{syscall}{arch}")]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_most_frequent_call_first_and_leaves_the_start_out() {
        let text = r#"{"version": 1, "runs": 3, "calls": {
            "SCMP_ARCH_X86_64": {
                "execve": {"count": 1, "starting": 1, "runs": 1, "first": 5, "last": 6},
                "read": {"count": 2, "runs": 2, "first": 5, "last": 6},
                "write": {"count": 10, "starting": 3, "runs": 3, "first": 5, "last": 6}},
            "SCMP_ARCH_ARM": {"read": {"count": 1, "runs": 1, "first": 5, "last": 6}}}}"#;
        let table = table(&Recording::from_json(text.as_bytes()).unwrap()).to_string();
        let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[1][..5], ["7", "3", "of", "3", "write"]);
        assert_eq!(lines[2][..5], ["2", "2", "of", "3", "read"]);
        assert_eq!(lines[3][..6], ["1", "1", "of", "3", "read", "(arm)"]);
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_runtime_that_fails_has_run_no_program() {
        let close =
            |count: u64| format!(r#""close": {{"count": {count}, "starting": 2, "first": 5, "last": 6}}"#);
        let execve = r#""execve": {"count": 1, "starting": 1, "first": 5, "last": 6}"#;
        for (calls, expected) in [
            (String::new(), false),
            (close(2), false),
            (close(3), false),
            (format!("{}, {execve}", close(2)), false),
            (format!("{}, {execve}", close(3)), true),
        ] {
            let text =
                format!(r#"{{"version": 1, "runs": 1, "calls": {{"SCMP_ARCH_X86_64": {{{calls}}}}}}}"#);
            assert_eq!(has_program(&Recording::from_json(text.as_bytes()).unwrap()), expected, "{calls}");
        }
    }
}
