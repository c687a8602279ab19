use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use seccomp_agent_profile::{MAX_PROFILE_BYTES, Profile};

use crate::enforcing::write_file;

/// The options of `profile install`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Copy profiles to where the kubelet looks for them\n\n\
    Each file is read as a profile first, and nothing is installed if one is none. A file is replaced as a whole; others \
    in the directory stay.",
    after_help = "Exit status: 0 all are installed, 1 failure, 2 usage."
)]
pub(super) struct InstallArgs {
    /// The directory to install into; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/seccomp/seccomp-agent")]
    into: PathBuf,
    /// Profiles, or directories of profiles: of these, what ends in .json
    #[arg(required = true, value_name = "FILE|DIR")]
    from: Vec<PathBuf>,
}

#[allow(clippy::print_stdout)] // What has been installed.
pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let mut profiles = Vec::new();
    for path in &args.from {
        for file in files(path)? {
            let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
            profiles.push((args.into.join(name), checked(&file)?));
        }
    }
    ensure!(!profiles.is_empty(), "there is no .json in what was named");
    fs::create_dir_all(&args.into).with_context(|| format!("making {}", args.into.display()))?;
    for (path, text) in &profiles {
        write_file(path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The profiles that a path means, by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = || format!("reading {}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(reading)? {
        let file = entry.with_context(reading)?.path();
        if file.extension().is_some_and(|extension| extension == "json") && file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a profile, as it is.
fn checked(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(MAX_PROFILE_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    Profile::from_json(text.as_bytes()).with_context(|| format!("{} is no profile", path.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;

    #[test]
    fn a_directory_is_installed_as_it_is_and_the_rest_stays() {
        let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a.json"), PROFILE).unwrap();
        fs::write(from.path().join("notes.txt"), "no profile").unwrap();
        // As in a mounted ConfigMap.
        fs::create_dir(from.path().join("..data")).unwrap();
        fs::write(from.path().join("..data/b.json"), PROFILE).unwrap();
        std::os::unix::fs::symlink("..data/b.json", from.path().join("b.json")).unwrap();
        fs::write(into.path().join("mine.json"), "mine").unwrap();
        let args = InstallArgs { into: into.path().to_owned(), from: vec![from.path().to_owned()] };
        install(&args).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(into.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.json", "b.json", "mine.json"]);
        assert_eq!(fs::read_to_string(into.path().join("b.json")).unwrap(), PROFILE);
    }

    #[test]
    fn nothing_is_installed_if_one_is_no_profile() {
        let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a.json"), PROFILE).unwrap();
        fs::write(from.path().join("b.json"), "{").unwrap();
        let args = InstallArgs { into: into.path().join("new"), from: vec![from.path().to_owned()] };
        let error = install(&args).unwrap_err();
        assert!(error.to_string().contains("b.json is no profile"), "{error}");
        assert!(!into.path().join("new").exists());
    }
}
