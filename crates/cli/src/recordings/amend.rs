use seccomp_agent_recorder::{Name, Recording};

use super::directory::Directory;
use crate::output::print;

/// The options of `recordings amend`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Have profiles allow calls that no run has shown\n\n\
    They are allowed with any arguments, on all architectures. The provenance of a profile says of them that they were \
    amended. --violations adds the calls that containers of this name made and that their profile did not allow, as if \
    they had been recorded, and forgets them as violations. --withdraw takes back what was allowed by hand; what was \
    recorded stays allowed.")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct AmendArgs {
    /// Which recording
    name: Name,
    /// Allow these calls; can be repeated
    #[arg(long, value_name = "CALL", num_args = 1.., value_delimiter = ',', group = "what")]
    allow: Vec<String>,
    /// Allow what was a violation
    #[arg(long, group = "what")]
    violations: bool,
    /// No longer allow these by hand; can be repeated
    #[arg(long, value_name = "CALL", num_args = 1.., value_delimiter = ',', group = "what")]
    withdraw: Vec<String>,
}

pub(super) fn amend(directory: &Directory, args: &AmendArgs) -> anyhow::Result<()> {
    let store = directory.existing()?;
    // There may be violations of what was never recorded.
    let violations = store.violations(&args.name)?.filter(|_| args.violations);
    let mut recording = match &violations {
        Some(_) => store.read(&args.name)?.unwrap_or_default(),
        None => directory.read(&args.name)?,
    };
    // All of it or nothing: a misspelt call is found before anything is written.
    change(&mut recording, args)?;
    // What cannot be said is done nonetheless.
    let mut told = Ok(());
    if args.violations {
        let calls = violations.map(|violations| violations.calls()).unwrap_or_default();
        store.amend(&args.name)?;
        let names: Vec<_> = calls.keys().map(ToString::to_string).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        told = print(format!("{}, violations added: {names}\n", args.name));
    }
    if !args.allow.is_empty() || !args.withdraw.is_empty() {
        let mut changed = Ok(());
        let recording = store.change(&args.name, |recording| changed = change(recording, args))?;
        changed?;
        let amended = recording.amended().collect::<Vec<_>>().join(", ");
        told = told.and(print(format!("{}, by hand: {amended}\n", args.name)));
    }
    told
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
