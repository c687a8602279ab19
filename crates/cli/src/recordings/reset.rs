use anyhow::{bail, ensure};
use seccomp_agent_recorder::{Name, Recording};

use super::directory::Directory;
use crate::output::print;
use crate::time::{Moment, written};

/// The options of `recordings reset`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Drop what is no longer used\n\n\
    With --runs, the runs but for the newest N, and with them the calls that only older ones made. With --before, the \
    calls that were last seen before TIME: a date, such as 2026-11-22 (UTC), or how long ago, such as 12h or 7d; the \
    runs stay counted, and there has to be one since then in which all calls were recorded. With --all, the recording altogether. What was allowed by hand stays, unless with --all. Runs \
    that have not ended are left alone, unless with --all.")]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct ResetArgs {
    /// Which recording
    name: Name,
    /// Keep the newest N runs only, of at most 64 that are kept apart
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Drop the calls that were last seen before this
    #[arg(long, value_name = "TIME", group = "what")]
    before: Option<Moment>,
    /// Drop everything
    #[arg(long, group = "what")]
    all: bool,
    /// Say what would be dropped, and drop nothing
    #[arg(long)]
    dry_run: bool,
}

/// Drops what it is told to, and says so.
pub(super) fn reset(directory: &Directory, args: &ResetArgs) -> anyhow::Result<()> {
    // All is what there are violations of as well.
    let (mut recording, violations) = if args.all {
        directory.read_with_violations(&args.name)?
    } else {
        (directory.read(&args.name)?, Recording::new())
    };
    let mut before = recording.calls();
    before.extend(violations.calls());
    let what = if args.all { "all".to_owned() } else { drop_from(&mut recording, args)? };
    if !args.dry_run {
        let store = directory.open()?;
        if args.all {
            store.remove(&args.name)?;
        } else {
            let mut done = Ok(String::new());
            store.change(&args.name, |recording| done = drop_from(recording, args))?;
            done?;
        }
    }
    let left = if args.all { Recording::new() } else { recording }.calls();
    let dropped: Vec<_> = before.keys().filter(|syscall| !left.contains_key(syscall)).collect();
    let done = if args.dry_run { "would be dropped" } else { "dropped" };
    let summary = format!("{}: {what}: {} of {} calls {done}\n", args.name, dropped.len(), before.len());
    let each = dropped.iter().map(|syscall| format!("{syscall} ({})\n", syscall.arch));
    print(summary + &each.collect::<String>())
}

/// Says what is dropped.
fn drop_from(recording: &mut Recording, args: &ResetArgs) -> anyhow::Result<String> {
    match (args.runs, args.before) {
        (Some(runs), _) => {
            let newest = recording.newest(usize::try_from(runs)?);
            let all = recording.runs();
            *recording = newest;
            Ok(format!("the newest {} of {all} runs kept", recording.runs()))
        }
        (_, Some(Moment(before))) => {
            ensure!(
                recording.has_whole_run_since(before),
                "since {}, there was no run in which all calls were recorded: what is still used cannot be told",
                written(before)
            );
            recording.forget_before(before);
            Ok(format!("last seen before {}", written(before)))
        }
        _ => bail!("nothing is to be dropped"),
    }
}
