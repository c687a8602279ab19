use std::cmp::Reverse;
use std::fmt::Write;

use seccomp_agent_recorder::{Arguments, Name, Recording};

use super::directory::Directory;
use crate::args::OutputFormat;
use crate::table::{Side, Table};
use crate::time;

/// The options of `recordings show`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Show a recording\n\n\
    Each call, the most frequent first, with how often it was made, how often of these by the container runtime \
    before it started the program, in how many of the runs, when first and last (UTC), and the values of those \
    arguments that are kept. With --output json, the recording as it is on disk.")]
pub(super) struct ShowArgs {
    /// Which recording
    name: Name,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[allow(clippy::print_stdout)] // What the user asked for.
pub(super) fn show(directory: &Directory, args: &ShowArgs) -> anyhow::Result<()> {
    let recording = directory.read(&args.name)?;
    match args.output {
        OutputFormat::Text => print!("{}", text(&args.name, &recording)),
        OutputFormat::Json => print!("{}", recording.to_json()),
    }
    Ok(())
}

fn text(name: &Name, recording: &Recording) -> String {
    let runs = recording.runs();
    let runtimes: Vec<_> = recording.runtimes().collect();
    let by = if runtimes.is_empty() { String::new() } else { format!(", by {}", runtimes.join(" and ")) };
    let mut text = format!("{name}: {runs} run{}{by}\n", if runs == 1 { "" } else { "s" });
    for arch in recording.architectures() {
        // Writing to a string cannot fail.
        let _written = write!(text, "\n{arch}\n{}", table(recording, arch));
    }
    let amended: Vec<_> = recording.amended().collect();
    if !amended.is_empty() {
        let _written = writeln!(text, "\nallowed by hand: {}", amended.join(", "));
    }
    if recording.elsewhere() > 0 {
        let _written = writeln!(text, "\nno such call: {}", recording.elsewhere());
    }
    text
}

fn table(recording: &Recording, arch: seccomp_agent_syscall::Arch) -> Table {
    let mut rows: Vec<_> = recording.calls().filter(|(syscall, _)| syscall.arch == arch).collect();
    rows.sort_by_key(|(syscall, seen)| (Reverse(seen.count), *syscall));
    let mut table = Table::new([
        ("count", Side::Right),
        ("starting", Side::Right),
        ("runs", Side::Right),
        ("first", Side::Left),
        ("last", Side::Left),
        ("call", Side::Left),
        ("arguments", Side::Left),
    ]);
    for (syscall, seen) in rows {
        table.row([
            seen.count.to_string(),
            seen.starting.to_string(),
            format!("{} of {}", seen.runs, recording.runs()),
            time::written(seen.first),
            time::written(seen.last),
            syscall.to_string(),
            seen.arguments.as_ref().map(values).unwrap_or_default(),
        ]);
    }
    table
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

    #[test]
    fn each_architecture_has_its_calls_with_coverage_and_arguments() {
        let text = super::text(
            &"web".parse().unwrap(),
            &Recording::from_json(
                br#"{"version": 1, "runs": 3, "runtimes": ["crun", "runc"], "amended": ["mkdir"], "calls": {
                "SCMP_ARCH_X86_64": {
                    "read": {"count": 2, "runs": 2, "first": 5, "last": 6},
                    "socket": {"count": 9, "starting": 3, "runs": 3, "first": 5, "last": 6,
                        "arguments": {"values": [[2, 1, 0], [1, 1, 0]]}}},
                "SCMP_ARCH_ARM": {"read": {"count": 1, "runs": 1, "first": 5, "last": 6}}}}"#,
            )
            .unwrap(),
        );
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("web: 3 runs, by crun and runc\n"), "{text}");
        let at = lines.iter().position(|line| line == &["x86_64"]).unwrap();
        assert_eq!(lines[at + 2][..5], ["9", "3", "3", "of", "3"]);
        assert_eq!(lines[at + 2][9..], ["socket", "0x1,0x1,0x0", "0x2,0x1,0x0"]);
        assert_eq!(lines[at + 3][..5], ["2", "0", "2", "of", "3"]);
        assert!(lines.iter().any(|line| line == &["arm"]) && text.ends_with("allowed by hand: mkdir\n"));
    }
}
