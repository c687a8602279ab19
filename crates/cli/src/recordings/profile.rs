use std::path::PathBuf;

use seccomp_agent_recorder::{Name, Provenance};

use super::directory::Directory;
use crate::enforcing::{self, EnforceArgs};

/// The options of `recordings profile`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Write the profile that allows what was recorded\n\n\
    It allows the calls of all runs, those allowed by hand, what the container runtime needs, and what no run has to \
    show: ending, returning from signals, telling the time. FILE.provenance.json beside FILE.json says why each call is \
    allowed. Without -o the profile alone goes to standard output.")]
pub(super) struct ProfileArgs {
    /// Which recording
    name: Name,
    /// Write the profile here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    enforce: EnforceArgs,
}

pub(super) fn profile(directory: &Directory, args: &ProfileArgs) -> anyhow::Result<()> {
    let enforce = args.enforce.enforce()?;
    let recording = directory.read(&args.name)?;
    let provenance = enforcing::write(&enforce, &recording, args.output.as_deref())?;
    tell(&provenance);
    Ok(())
}

/// What was seen and is nonetheless not allowed.
#[allow(clippy::print_stderr)] // Standard output is the profile's.
fn tell(provenance: &Provenance) {
    let list = |names: &std::collections::BTreeSet<String>| {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    if !provenance.refused_by_base.is_empty() {
        eprintln!("needed, and refused by the base: {}", list(&provenance.refused_by_base));
    }
    if !provenance.unnamed.is_empty() {
        eprintln!("recorded, but without a name to allow it by: {}", list(&provenance.unnamed));
    }
}
