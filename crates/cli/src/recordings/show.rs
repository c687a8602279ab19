use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write;

use seccomp_agent_recorder::{Arguments, FirstCaller, Name, Origin, Recording, Seen};
use seccomp_agent_syscall::{Arch, Syscall};
use serde::Serialize;

use super::directory::Directory;
use crate::args::OutputFormat;
use crate::output::print;
use crate::table::{Side, Table};
use crate::time;

/// The options of `recordings show`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Show a recording\n\n\
    Each call, the most frequent first, with how often it was made, how often of these by the container runtime \
    before it started the program, in how many of the runs, when first and last (UTC), who made it first and how \
    processes that made it came into the container (start, exec, probe), and the values of those arguments that are \
    kept. Calls that a profile did not allow are below, as violations.")]
pub(super) struct ShowArgs {
    /// Which recording
    name: Name,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// The JSON of it.
#[derive(Serialize)]
struct Shown<'a> {
    name: String,
    runs: u64,
    /// How many of these saw only what was not known yet.
    partial: u64,
    runtimes: BTreeSet<&'a str>,
    images: BTreeSet<&'a str>,
    workloads: BTreeSet<&'a str>,
    calls: Vec<ShownCall>,
    /// Names of calls that were allowed by hand.
    amended: Vec<&'a str>,
    /// Calls that a profile did not allow.
    violations: Vec<ShownCall>,
    /// How many calls were of no number that exists.
    elsewhere: u64,
}

/// What is known of one call of one architecture.
#[derive(Serialize)]
struct ShownCall {
    /// By its OCI name.
    architecture: &'static str,
    /// Its name, or architecture and number.
    call: String,
    count: u64,
    /// How many of these a runtime made before it started the program.
    starting: u64,
    /// In how many runs.
    runs: u64,
    /// In seconds since 1970.
    first: u64,
    last: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Arguments>,
    by: BTreeSet<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<FirstCaller>,
}

/// Shows the recording.
pub(super) fn show(directory: &Directory, args: &ShowArgs) -> anyhow::Result<()> {
    let (recording, violations) = directory.read_with_violations(&args.name)?;
    match args.output {
        OutputFormat::Text => print(text(&args.name, &recording, &violations)),
        OutputFormat::Json => {
            print(serde_json::to_string_pretty(&shown(&args.name, &recording, &violations))? + "\n")
        }
    }
}

fn shown<'a>(name: &Name, recording: &'a Recording, violations: &Recording) -> Shown<'a> {
    Shown {
        name: name.to_string(),
        runs: recording.runs(),
        partial: recording.partial_runs(),
        runtimes: recording.runtimes(),
        images: recording.images(),
        workloads: recording.workloads(),
        calls: sorted(recording).into_iter().map(shown_call).collect(),
        amended: recording.amended().collect(),
        violations: sorted(violations).into_iter().map(shown_call).collect(),
        elsewhere: recording.elsewhere(),
    }
}

fn shown_call((syscall, seen): (Syscall, Seen)) -> ShownCall {
    ShownCall {
        architecture: syscall.arch.oci_name().unwrap_or_default(),
        call: syscall.to_string(),
        count: seen.count,
        starting: seen.starting,
        runs: seen.runs,
        first: seen.first,
        last: seen.last,
        arguments: seen.arguments,
        by: seen.by,
        caller: seen.caller,
    }
}

/// The most frequent call first.
fn sorted(recording: &Recording) -> Vec<(Syscall, Seen)> {
    let mut calls: Vec<_> = recording.calls().into_iter().collect();
    calls.sort_by_key(|(syscall, seen)| (Reverse(seen.count), *syscall));
    calls
}

fn text(name: &Name, recording: &Recording, violations: &Recording) -> String {
    let runs = recording.runs();
    let partial = match recording.partial_runs() {
        0 => String::new(),
        partial => format!(", {partial} of them saw only what was not known yet"),
    };
    let mut text = format!("{name}: {runs} run{}{partial}\n", if runs == 1 { "" } else { "s" });
    let amended = recording.amended().collect();
    for (what, all) in [
        ("runtimes", recording.runtimes()),
        ("images", recording.images()),
        ("workloads", recording.workloads()),
        ("allowed by hand", amended),
    ] {
        if !all.is_empty() {
            let all: Vec<_> = all.into_iter().collect();
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{what}: {}", all.join(", "));
        }
    }
    for arch in recording.architectures() {
        let _written = write!(text, "\n{arch}\n{}", table(recording, arch));
    }
    for arch in violations.architectures() {
        let _written = write!(text, "\nviolations, {arch}\n{}", table(violations, arch));
    }
    if recording.elsewhere() > 0 {
        let _written = writeln!(text, "\nno such call: {}", recording.elsewhere());
    }
    text
}

fn table(recording: &Recording, arch: Arch) -> Table {
    let mut table = Table::new([
        ("count", Side::Right),
        ("starting", Side::Right),
        ("runs", Side::Right),
        ("first", Side::Left),
        ("last", Side::Left),
        ("call", Side::Left),
        ("by", Side::Left),
        ("first caller", Side::Left),
        ("arguments", Side::Left),
    ]);
    for (syscall, seen) in sorted(recording).into_iter().filter(|(syscall, _)| syscall.arch == arch) {
        let by: Vec<_> = seen.by.iter().map(|origin| origin_name(*origin)).collect();
        let caller = seen.caller.map(|caller| format!("{} {}", caller.comm, caller.exe));
        table.row([
            seen.count.to_string(),
            seen.starting.to_string(),
            format!("{} of {}", seen.runs, recording.runs()),
            time::written(seen.first),
            time::written(seen.last),
            syscall.to_string(),
            by.join(","),
            caller.unwrap_or_default(),
            seen.arguments.as_ref().map(values).unwrap_or_default(),
        ]);
    }
    table
}

/// As in JSON.
fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Start => "start",
        Origin::Exec => "exec",
        Origin::Probe => "probe",
        _ => "other",
    }
}

fn values(arguments: &Arguments) -> String {
    let Arguments::Values(all) = arguments else { return "any".to_owned() };
    let one = |values: &Vec<u64>| {
        let parts: Vec<_> = values.iter().map(|value| format!("{value:#x}")).collect();
        parts.join(",")
    };
    all.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(text: &str) -> Recording {
        Recording::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_architecture_has_its_calls_with_coverage_arguments_and_caller() {
        let web = recording(
            r#"{"version": 2, "amended": ["mkdir"], "runs": {}, "earlier": {"runs": 3, "facts": {
                "runtimes": ["crun", "runc"], "calls": {
                "SCMP_ARCH_X86_64": {
                    "read": {"count": 2, "runs": 2, "first": 5, "last": 6, "by": ["start", "probe"],
                        "caller": {"at": 5, "comm": "sh", "exe": "/bin/sh"}},
                    "socket": {"count": 9, "starting": 3, "runs": 3, "first": 5, "last": 6,
                        "arguments": {"values": [[2, 1, 0], [1, 1, 0]]}}},
                "SCMP_ARCH_ARM": {"read": {"count": 1, "runs": 1, "first": 5, "last": 6}}}}}}"#,
        );
        let text = super::text(&"web".parse().unwrap(), &web, &web);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("web: 3 runs\nruntimes: crun, runc\nallowed by hand: mkdir\n"), "{text}");
        let at = lines.iter().position(|line| line == &["x86_64"]).unwrap();
        assert_eq!(lines[at + 2][..5], ["9", "3", "3", "of", "3"]);
        assert_eq!(lines[at + 2][9..], ["socket", "0x1,0x1,0x0", "0x2,0x1,0x0"]);
        assert_eq!(lines[at + 3][..5], ["2", "0", "2", "of", "3"]);
        assert_eq!(lines[at + 3][9..], ["read", "start,probe", "sh", "/bin/sh"]);
        assert!(lines.iter().any(|line| line == &["arm"]) && text.contains("\nviolations, x86_64\n"));
    }
}
