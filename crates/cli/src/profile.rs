//! `seccomp-agent profile`: profiles that let containers be recorded, and what a profile would refuse.

mod install;
mod libseccomp;
mod new;
mod refusals;
mod verify;

use clap::Subcommand;

use crate::run;

pub(crate) use new::{Runtime, recording};

/// The options of `profile`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    #[command(about = "Copy profiles to where the kubelet looks for them")]
    Install(install::InstallArgs),
    #[command(about = "Write the profile that a container needs to be recorded by the agent")]
    New(new::NewArgs),
    #[command(about = "Run a command, and tell which of its calls a profile would refuse")]
    Verify(verify::VerifyArgs),
}

/// A profile that the user named and that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the profile cannot be used")]
pub(crate) struct Unusable;

impl ProfileArgs {
    /// The exit status for a failure of this program, which is told apart where a command is run.
    pub(crate) const fn failure(&self) -> u8 {
        match self.command {
            ProfileCommand::Install(_) | ProfileCommand::New(_) => 1,
            ProfileCommand::Verify(_) => run::OWN_FAILURE,
        }
    }
}

/// Runs a subcommand of `profile`, and returns the exit status.
pub(crate) fn profile(args: &ProfileArgs) -> anyhow::Result<u8> {
    match &args.command {
        ProfileCommand::Install(args) => install::install(args).map(|()| 0),
        ProfileCommand::New(args) => new::new(args).map(|()| 0),
        ProfileCommand::Verify(args) => verify::verify(args),
    }
}
