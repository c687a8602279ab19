use std::path::PathBuf;

use seccomp_agent_recorder::{Name, Observe, Provenance};

use super::directory::Directory;
use crate::config::DEFAULT_SOCKET;
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
    /// Leave calls that are not allowed to the agent, which tells of them as violations, and lets them continue unless its
    /// policy refuses them. One that is allowed with certain arguments only is refused with others, and not told of
    #[arg(long)]
    complain: bool,
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, requires = "complain")]
    listener_path: String,
    #[command(flatten)]
    enforce: EnforceArgs,
}

pub(super) fn profile(directory: &Directory, args: &ProfileArgs) -> anyhow::Result<()> {
    let enforce = args.enforce.enforce()?;
    let recording = directory.read(&args.name)?;
    let observe = Observe::new(args.name.clone(), &args.listener_path).under(args.enforce.target());
    let provenance = enforcing::write_as(&enforce, &recording, args.output.as_deref(), |profile| {
        if args.complain { observe.complaining(&profile) } else { profile }
    })?;
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
