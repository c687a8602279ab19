use seccomp_agent_recorder::Entry;
use serde::Serialize;

use super::directory::Directory;
use crate::args::OutputFormat;
use crate::output::print;
use crate::table::{Side, Table};
use crate::time;

/// The options of `recordings list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// How to write the list
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// A line of the list, and an object of its JSON.
#[derive(Serialize)]
struct Row {
    name: String,
    runs: u64,
    /// Different calls, those of each architecture by themselves.
    calls: usize,
    /// Different calls that a profile did not allow.
    violations: usize,
    /// When the last call was seen, in seconds since 1970.
    last: Option<u64>,
}

/// Lists those that can be read, and fails if there are others.
pub(super) fn list(directory: &Directory, args: &ListArgs) -> anyhow::Result<()> {
    let store = directory.existing()?;
    let (mut rows, mut damaged) = (Vec::new(), Ok(()));
    for entry in store.entries()? {
        match entry {
            Ok(entry) => rows.push(row(entry)),
            Err(error) => damaged = damaged.and(Err(error)),
        }
    }
    match args.output {
        OutputFormat::Text => print(table(rows))?,
        OutputFormat::Json => print(serde_json::to_string_pretty(&rows)? + "\n")?,
    }
    Ok(damaged?)
}

fn row(entry: Entry) -> Row {
    let (recording, violations) =
        (entry.recording.unwrap_or_default(), entry.violations.unwrap_or_default().calls());
    let calls = recording.calls();
    Row {
        name: entry.name.to_string(),
        runs: recording.runs(),
        calls: calls.len(),
        violations: violations.len(),
        last: calls.values().chain(violations.values()).map(|seen| seen.last).max(),
    }
}

fn table(rows: Vec<Row>) -> Table {
    let mut table = Table::new([
        ("name", Side::Left),
        ("runs", Side::Right),
        ("calls", Side::Right),
        ("violations", Side::Right),
        ("last seen (UTC)", Side::Left),
    ]);
    for row in rows {
        let last = row.last.map(time::written).unwrap_or_default();
        table.row([row.name, row.runs.to_string(), row.calls.to_string(), row.violations.to_string(), last]);
    }
    table
}
