use seccomp_agent_recorder::Name;

use super::directory::Directory;
use crate::output::print;

/// The options of `recordings export`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Write a recording to standard output, to be merged elsewhere\n\n\
    With the runs that have not ended, as far as they are known. `recordings merge` takes it as a file.")]
pub(super) struct ExportArgs {
    /// Which recording
    name: Name,
}

pub(super) fn export(directory: &Directory, args: &ExportArgs) -> anyhow::Result<()> {
    print(directory.read(&args.name)?.to_json())
}
