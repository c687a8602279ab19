//! Programs of a Debian newer than the machine's: fetched and unpacked below the target directory, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use seccomp_agent_tests::binaries;

use crate::command;

/// The release that has a `mount` which makes mounts step by step.
const CODENAME: &str = "trixie";

/// `mount(8)` and `bwrap(1)`, and the libraries that they need, one by one: what else packages depend on is of no
/// use here.
const PACKAGES: [&str; 10] = [
    "bubblewrap",
    "libblkid1",
    "libc6",
    "libcap2",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "mount",
    "util-linux",
];

/// Sees to it that they are there.
pub(crate) fn fetch() -> anyhow::Result<()> {
    let place = binaries::target_directory()?.join(binaries::NEWER_DEBIAN);
    if place.join("usr/bin/mount").exists() {
        return Ok(());
    }
    eprintln!("fetching programs of Debian {CODENAME}");
    let work = place.with_extension("work");
    let _ = fs::remove_dir_all(&work);
    let (packages, unpacked) = (work.join("packages"), work.join("unpacked"));
    for folder in [&packages, &unpacked] {
        fs::create_dir_all(folder)?;
    }
    let apt = Apt::apart(&work)?;
    command::run(apt.get().args(["--quiet=2", "update"]))?;
    // Downloading is all that this can do: nothing of another release may ever be installed on the machine.
    command::run(apt.get().args(["--quiet=2", "download"]).args(PACKAGES).current_dir(&packages))?;
    for package in fs::read_dir(&packages)? {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(&unpacked))?;
    }
    // Whole or not at all.
    let _ = fs::remove_dir_all(&place);
    fs::rename(&unpacked, &place).context("cannot keep the programs")?;
    fs::remove_dir_all(&work).context("cannot remove what was fetched")
}

/// apt with lists and caches of its own.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn apart(directory: &Path) -> anyhow::Result<Self> {
        let source = format!("deb [signed-by={KEYRING}] {} {CODENAME} main\n", archive()?);
        fs::write(directory.join("sources.list"), source)?;
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn get(&self) -> Command {
        let mut apt = Command::new("apt-get");
        let at = |name: &str| self.directory.join(name).display().to_string();
        for (option, value) in [
            ("Dir::State", at("state")),
            ("Dir::Cache", at("cache")),
            ("Dir::Etc::SourceList", at("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            apt.arg("-o").arg(format!("{option}={value}"));
        }
        apt
    }
}

/// Who signs all releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the machine's own release comes from.
fn archive() -> anyhow::Result<String> {
    ensure!(Path::new(KEYRING).exists(), "this is no Debian: there is no {KEYRING}");
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(CODENAME) $(REPO_URI)"]);
    targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]);
    let said = command::output(&mut targets).context("apt-get indextargets fails")?;
    // Those of updates have a name with a dash.
    let whole = said.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| !name.contains('-'));
    match whole {
        Some((_, uri)) => Ok(uri.to_owned()),
        None => bail!("apt has no source of packages"),
    }
}
