//! `seccomp-agent recordings`: what was recorded, and profiles made of it.

mod amend;
pub(crate) mod directory;
mod export;
mod list;
mod merge;
mod profile;
mod reset;
mod show;

use clap::Subcommand;

use directory::Directory;

/// The options of `recordings`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "List recordings, and make profiles of them\n\n\
    A recording is a file, NAME.json, of the system calls that the runs of one workload made: how often, in how many \
    of the runs, when, and with which arguments. `record` and `serve` write them. All changes replace the file as a \
    whole and under a lock, so they can be made while an agent records.",
    after_help = "Exit status: 0 done, 1 failure, also if there is no such recording; 2 usage."
)]
pub(crate) struct RecordingsArgs {
    #[command(flatten)]
    directory: Directory,
    #[command(subcommand)]
    command: RecordingsCommand,
}

#[derive(Debug, Subcommand)]
enum RecordingsCommand {
    /// List all recordings: runs, different calls, and when the last one was seen
    List(list::ListArgs),
    #[command(
        about = "Show a recording: each call with its counts, in how many of the runs it was seen, when, and its arguments"
    )]
    Show(show::ShowArgs),
    #[command(about = "Write the profile that allows what was recorded, and why it allows it")]
    Profile(profile::ProfileArgs),
    #[command(about = "Write a recording to standard output, to be merged elsewhere")]
    Export(export::ExportArgs),
    #[command(about = "Add the runs of other recordings, such as those of other nodes")]
    Merge(merge::MergeArgs),
    #[command(about = "Drop what is no longer used")]
    Reset(reset::ResetArgs),
    #[command(about = "Have profiles allow calls that no run has shown")]
    Amend(amend::AmendArgs),
}

/// Runs a subcommand of `recordings`.
pub(crate) fn recordings(args: &RecordingsArgs) -> anyhow::Result<()> {
    let directory = &args.directory;
    match &args.command {
        RecordingsCommand::List(args) => list::list(directory, args),
        RecordingsCommand::Show(args) => show::show(directory, args),
        RecordingsCommand::Profile(args) => profile::profile(directory, args),
        RecordingsCommand::Export(args) => export::export(directory, args),
        RecordingsCommand::Merge(args) => merge::merge(directory, args),
        RecordingsCommand::Reset(args) => reset::reset(directory, args),
        RecordingsCommand::Amend(args) => amend::amend(directory, args),
    }
}
