//! Which enforcing profile is to be made of a recording, and writing it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use seccomp_agent_profile::{Action, Profile};
use seccomp_agent_recorder::{Enforce, Provenance, Recording, Target, minimal};
use seccomp_agent_syscall::nearest;

use crate::run::profile;

/// The options that say so.
#[derive(Debug, clap::Args)]
pub(crate) struct EnforceArgs {
    /// Allow calls such as socket, ioctl and prctl with the arguments only that were seen
    #[arg(long)]
    args: bool,
    /// Allow what this runtime needs to start a container under the profile: runc, crun or any
    #[arg(long = "for", value_name = "RUNTIME", default_value = "any")]
    target: Target,
    /// For containers with `no_new_privs` only, in which runtimes need less
    #[arg(long)]
    no_new_privs: bool,
    /// Begin with the rules of this profile; a call that it refuses stays refused. `minimal` is built in: what programs
    /// need to be loaded, to use memory and what is open, and to end
    #[arg(long, value_name = "FILE|minimal")]
    base: Option<PathBuf>,
    /// What becomes of calls that are not allowed: errno, errno:NUMBER, kill-process, kill-thread, trap or log
    #[arg(long, value_name = "ACTION", default_value = "errno")]
    default_action: Refusal,
}

impl EnforceArgs {
    /// The runtime that is to load the profile.
    pub(crate) const fn target(&self) -> Target {
        self.target
    }

    /// The same for the recorder. Reads the base.
    pub(crate) fn enforce(&self) -> anyhow::Result<Enforce> {
        let mut enforce = Enforce::new().under(self.target).otherwise(self.default_action.0);
        if self.args {
            enforce = enforce.with_arguments();
        }
        if self.no_new_privs {
            enforce = enforce.with_no_new_privs();
        }
        match &self.base {
            Some(base) => Ok(enforce.on(read_base(base)?)),
            None => Ok(enforce),
        }
    }
}

/// Writes the profile, and beside it why it allows what it allows; without a file, the profile alone, to standard output.
pub(crate) fn write(
    enforce: &Enforce,
    recording: &Recording,
    output: Option<&Path>,
) -> anyhow::Result<Provenance> {
    write_as(enforce, recording, output, |profile| profile)
}

/// [`write`], of what becomes of the profile.
#[allow(clippy::print_stdout)] // What the user asked for.
pub(crate) fn write_as(
    enforce: &Enforce,
    recording: &Recording,
    output: Option<&Path>,
    change: impl FnOnce(Profile) -> Profile,
) -> anyhow::Result<Provenance> {
    let (profile, provenance) = enforce.profile(recording);
    let profile = change(profile);
    let text = format!("{}\n", profile.to_json());
    match output {
        Some(path) => {
            write_file(path, &text)?;
            write_file(&path.with_extension("provenance.json"), &provenance.to_json())?;
        }
        None => print!("{text}"),
    }
    Ok(provenance)
}

/// Writes a file, and names it if that fails.
pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn read_base(base: &Path) -> anyhow::Result<Profile> {
    // A file of that name is `./minimal`.
    if base == Path::new("minimal") { Ok(minimal()) } else { profile::read(base) }
}

/// An action that does not let a call through unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal(Action);

const NAMES: [&str; 5] = ["errno", "kill-process", "kill-thread", "trap", "log"];

impl FromStr for Refusal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            // EPERM, which programs expect of a call that is not allowed.
            "errno" => Action::Errno(1),
            "kill-process" => Action::KillProcess,
            "kill-thread" => Action::KillThread,
            "trap" => Action::Trap,
            "log" => Action::Log,
            _ => {
                let number = text.strip_prefix("errno:").and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=MAX_ERRNO).contains(number));
                Action::Errno(number.ok_or_else(|| match nearest(text, NAMES) {
                    Some(meant) => format!("{text:?} is no action, did you mean {meant:?}?"),
                    None => format!("{text:?} is none of {}", NAMES.join(", ")),
                })?)
            }
        }))
    }
}

/// `MAX_ERRNO` of the kernel.
const MAX_ERRNO: u16 = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_and_what_is_near_one_is_suggested() {
        assert_eq!("errno".parse(), Ok(Refusal(Action::Errno(1))));
        assert_eq!("errno:38".parse(), Ok(Refusal(Action::Errno(38))));
        assert_eq!("kill-process".parse(), Ok(Refusal(Action::KillProcess)));
        let wrong = |text: &str| text.parse::<Refusal>().unwrap_err();
        assert!(wrong("kil-process").contains("\"kill-process\""));
        for text in ["allow", "notify", "errno:0", "errno:4096", "errno:", ""] {
            wrong(text);
        }
    }
}
