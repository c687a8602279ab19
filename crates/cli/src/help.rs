//! `seccomp-agent completion` and `seccomp-agent man`: the command line, told to shells and to `man`.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::output::print;

/// The options of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: seccomp-agent completion bash > /etc/bash_completion.d/seccomp-agent")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write them: it has to be there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the script.
pub(crate) fn completion(options: &CompletionArgs) -> anyhow::Result<()> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    print(String::from_utf8(script).context("the script is no text")?)
}

/// Writes one page for the program and one for each subcommand.
pub(crate) fn man(options: &ManArgs) -> anyhow::Result<()> {
    let directory = &options.directory;
    clap_mangen::generate_to(Args::command(), directory)
        .with_context(|| format!("writing manual pages into {}", directory.display()))
}
