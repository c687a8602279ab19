use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::ValueEnum;
use seccomp_agent_notify::Arch;
use seccomp_agent_profile::Profile;
use seccomp_agent_recorder::{Name, Observe, Target};
use seccomp_agent_syscall::Syscall;

use super::libseccomp::{Version, added};
use crate::config::DEFAULT_SOCKET;
use crate::enforcing::write_file;
use crate::output::print;

/// The options of `profile new`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Write the profile that a container needs to be recorded by the agent\n\n\
    It notifies every call that the runtime can have notified. The runtime hands the listener to the agent that serves \
    --listener-path, with the metadata RECORD=NAME. Nothing is refused: the container runs without the protection of a \
    profile while it is recorded. What cannot be seen is named on standard error.",
    after_help = "Exit status: 0 done, 1 failure, 2 usage."
)]
pub(super) struct NewArgs {
    /// Record the container under this name
    #[arg(long, value_name = "NAME")]
    record: Name,
    /// The runtime that is to load the profile
    #[arg(long = "for", value_enum, value_name = "RUNTIME")]
    runtime: Runtime,
    /// The version of libseccomp that the runtime uses (`runc --version` says it): calls that it does not know are left
    /// out and named
    #[arg(long, value_name = "VERSION")]
    libseccomp: Option<Version>,
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    listener_path: String,
    /// Write the profile here [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A runtime whose limits are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// Needs some calls before it has told the agent, and does not notify by default
    Runc,
    /// Notifies everything
    Crun,
}

/// What a recording cannot show.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unseen {
    /// Names that are left out for the runtime's sake.
    unnotified: &'static [&'static str],
    /// Names that libseccomp may not know, or does not, by the first version that does.
    unknown: BTreeMap<String, Vec<&'static str>>,
}

#[allow(clippy::print_stderr)] // What to know of what the user asked for.
pub(super) fn new(args: &NewArgs) -> anyhow::Result<()> {
    let profile = recording(args.record.clone(), &args.listener_path, args.runtime, args.libseccomp);
    let text = format!("{}\n", profile.to_json());
    match &args.output {
        Some(path) => write_file(path, &text)?,
        None => print(text)?,
    }
    eprint!("{}", unseen(args.record.clone(), args.runtime, args.libseccomp));
    Ok(())
}

/// The profile under which this runtime has as much notified as it can.
pub(crate) fn recording(
    name: Name,
    listener_path: &str,
    runtime: Runtime,
    libseccomp: Option<Version>,
) -> Profile {
    let mut profile = Observe::new(name, listener_path).under(runtime.target()).everything();
    if let Some(version) = libseccomp {
        for rule in &mut profile.rules {
            rule.names.retain(|name| version.knows(name));
        }
    }
    profile
}

impl Runtime {
    /// What it is executed as.
    pub(crate) const fn program(self) -> &'static str {
        self.target().name()
    }

    const fn target(self) -> Target {
        match self {
            Self::Runc => Target::Runc,
            Self::Crun => Target::Crun,
        }
    }
}

/// The names of all calls of this machine.
fn names() -> impl Iterator<Item = &'static str> {
    Arch::native().family().iter().flat_map(|arch| Syscall::all(*arch)).filter_map(Syscall::name)
}

fn unseen(name: Name, runtime: Runtime, libseccomp: Option<Version>) -> Unseen {
    // By default, crun has the kernel notify whatever number it is.
    if runtime == Runtime::Crun {
        return Unseen::default();
    }
    let ours: BTreeSet<_> = names().collect();
    let mut unknown: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (version, name) in added().filter(|(_, name)| ours.contains(name)) {
        if libseccomp.is_none_or(|ours| version > ours) {
            unknown.entry(version.to_string()).or_default().push(name);
        }
    }
    Unseen { unnotified: Observe::new(name, "").under(runtime.target()).unnotified(), unknown }
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.unnotified.is_empty() {
            let names = self.unnotified.join(", ");
            writeln!(f, "not recorded, since runc makes it before it has told the agent: {names}")?;
        }
        for (version, names) in &self.unknown {
            writeln!(f, "not recorded with a libseccomp before {version}: {}", names.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_profile::Action;

    fn recording(runtime: Runtime, libseccomp: Option<Version>) -> Profile {
        super::recording("web".parse().unwrap(), "/s", runtime, libseccomp)
    }

    fn unseen(runtime: Runtime, libseccomp: Option<Version>) -> String {
        super::unseen("web".parse().unwrap(), runtime, libseccomp).to_string()
    }

    fn notified(profile: &Profile) -> BTreeSet<&str> {
        let rules = profile.rules.iter().filter(|rule| rule.action == Action::Notify);
        rules.flat_map(|rule| rule.names.iter().map(String::as_str)).collect()
    }

    #[test]
    fn under_runc_every_name_is_notified_but_what_it_needs_itself() {
        let profile = recording(Runtime::Runc, None);
        let names: BTreeSet<_> =
            names().filter(|name| !["write", "futex", "rt_sigreturn"].contains(name)).collect();
        assert_eq!((notified(&profile), profile.default_action), (names, Action::Allow));
    }

    #[test]
    fn crun_notifies_by_default_and_misses_nothing() {
        let profile = recording(Runtime::Crun, "2.5.0".parse().ok());
        assert_eq!((profile.default_action, notified(&profile).len()), (Action::Notify, 0));
        assert_eq!(unseen(Runtime::Crun, None), "");
    }

    #[test]
    fn what_libseccomp_does_not_know_is_left_out_and_named_with_the_version_that_does() {
        let version = "2.5.4".parse().ok();
        let profile = recording(Runtime::Runc, version);
        assert!(!notified(&profile).contains("fchmodat2") && notified(&profile).contains("close_range"));
        let text = unseen(Runtime::Runc, version);
        assert!(text.contains("told the agent: futex, rt_sigreturn, write\n"), "{text}");
        assert!(
            text.contains("before 2.5.5: cachestat, fchmodat2") && !text.contains("close_range"),
            "{text}"
        );
        assert!(unseen(Runtime::Runc, None).contains("close_range"));
    }
}
