use seccomp_agent_recorder::Name;

use super::directory::Directory;
use crate::time::{Moment, written};

/// The options of `recordings reset`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Drop what is no longer used\n\n\
    With --before, the calls that were last seen before TIME: a date, such as 2026-11-22 (UTC), or how long ago, such \
    as 12h or 7d. With --all, the recording altogether. What was allowed by hand stays, unless with --all.")]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct ResetArgs {
    /// Which recording
    name: Name,
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

#[allow(clippy::print_stdout)] // What was done.
pub(super) fn reset(directory: &Directory, args: &ResetArgs) -> anyhow::Result<()> {
    let recording = directory.read(&args.name)?;
    let Some(Moment(before)) = args.before else {
        if !args.dry_run {
            directory.open()?.remove(&args.name)?;
        }
        println!("{}: {} calls dropped", args.name, recording.calls().count());
        return Ok(());
    };
    let mut forgotten = Vec::new();
    if args.dry_run {
        forgotten = recording.clone().forget_before(before);
    } else {
        directory.open()?.change(&args.name, |recording| forgotten = recording.forget_before(before))?;
    }
    println!("{}: {} calls last seen before {} dropped", args.name, forgotten.len(), written(before));
    for syscall in forgotten {
        println!("{syscall} ({})", syscall.arch);
    }
    Ok(())
}
