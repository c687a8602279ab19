//! Which enforcing profile is to be made of a recording, and writing it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use seccomp_agent_profile::{Action, Profile};
use seccomp_agent_recorder::{Enforce, Provenance, Recording, Target, minimal};
use seccomp_agent_syscall::nearest;

use crate::output::print;
use crate::run::profile;

/// The options that say so.
#[derive(Debug, clap::Args)]
pub(crate) struct EnforceArgs {
    /// Allow calls such as socket, ioctl and prctl with the arguments only that were seen, if all runs were seen as a whole
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

/// [`write()`], of what becomes of the profile.
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
            write_file(&provenance_of(path), &provenance.to_json())?;
        }
        None => print(text)?,
    }
    Ok(provenance)
}

/// Whether a file could be there, for whoever is to write one only after long work.
pub(crate) fn check_place(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "{} is a directory", path.display());
    let directory = directory_of(path);
    ensure!(directory.is_dir(), "{}: there is no directory {}", path.display(), directory.display());
    Ok(())
}

/// Writes a file, and names it if that fails. Whoever reads it finds the old one or the new one, complete; what is no
/// file, such as `/dev/stderr`, is written to.
pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let old = fs::metadata(path).ok();
        // `/dev/stdout` may be a file that others have open.
        let is_device = path.starts_with("/dev") || path.starts_with("/proc");
        if is_device || old.as_ref().is_some_and(|old| !old.is_file()) {
            return fs::write(path, text);
        }
        // A link stays one.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Less what the umask takes.
        let usual = fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(usual).tempfile_in(directory_of(&real))?;
        file.write_all(text.as_bytes())?;
        if let Some(old) = old {
            file.as_file().set_permissions(old.permissions())?;
        }
        file.as_file().sync_all()?;
        file.persist(&real).map(drop).map_err(|error| error.error)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// `NAME.provenance.json`, of `NAME.json` or NAME.
fn provenance_of(path: &Path) -> PathBuf {
    let mut name = if path.extension().is_some_and(|extension| extension == "json") {
        path.with_extension("").into_os_string()
    } else {
        path.as_os_str().to_owned()
    };
    name.push(".provenance.json");
    name.into()
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
    fn a_file_is_replaced_as_a_whole_with_its_mode_and_where_a_link_leads() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        write_file(&file, "first, and longer").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file) & 0o600, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut reader = fs::File::open(&file).unwrap();
        write_file(&link, "second").unwrap();
        let mut old = String::new();
        std::io::Read::read_to_string(&mut reader, &mut old).unwrap();
        assert_eq!(
            (old.as_str(), fs::read_to_string(&file).unwrap().as_str()),
            ("first, and longer", "second")
        );
        assert!(mode(&file) == 0o640 && link.is_symlink());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        let message = format!("{:#}", write_file(Path::new("/nowhere/file"), "").unwrap_err());
        assert!(message.contains("/nowhere/file"), "{message}");
    }

    #[test]
    fn the_provenance_is_named_as_the_profile() {
        for (profile, provenance) in [
            ("a/web.json", "a/web.provenance.json"),
            ("web.v1.json", "web.v1.provenance.json"),
            ("web.v1", "web.v1.provenance.json"),
            ("web", "web.provenance.json"),
        ] {
            assert_eq!(provenance_of(Path::new(profile)), Path::new(provenance));
        }
    }

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
