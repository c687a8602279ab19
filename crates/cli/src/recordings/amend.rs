use seccomp_agent_recorder::{Name, Recording};

use super::directory::Directory;

/// The options of `recordings amend`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Have profiles allow calls that no run has shown\n\n\
    They are allowed with any arguments, on all architectures. The provenance of a profile says of them that they were \
    amended. --withdraw takes an amendment back; what was recorded stays allowed.")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct AmendArgs {
    /// Which recording
    name: Name,
    /// Allow these calls; can be repeated
    #[arg(long, value_name = "CALL", num_args = 1.., value_delimiter = ',', group = "what")]
    allow: Vec<String>,
    /// No longer allow these by hand; can be repeated
    #[arg(long, value_name = "CALL", num_args = 1.., value_delimiter = ',', group = "what")]
    withdraw: Vec<String>,
}

#[allow(clippy::print_stdout)] // What was done.
pub(super) fn amend(directory: &Directory, args: &AmendArgs) -> anyhow::Result<()> {
    // All of it or nothing: a misspelt call is found before the file is locked.
    change(&mut directory.read(&args.name)?, args)?;
    let mut changed = Ok(());
    let recording = directory.open()?.change(&args.name, |recording| changed = change(recording, args))?;
    changed?;
    println!("{}, by hand: {}", args.name, recording.amended().collect::<Vec<_>>().join(", "));
    Ok(())
}

fn change(recording: &mut Recording, args: &AmendArgs) -> anyhow::Result<()> {
    for name in &args.allow {
        recording.amend(name)?;
    }
    for name in &args.withdraw {
        anyhow::ensure!(recording.withdraw(name), "{name:?} is not allowed by hand");
    }
    Ok(())
}
