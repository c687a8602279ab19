//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The directory below the target directory that the probe is built into. It is linked statically, with a flag
/// that the rest of the workspace must not see, hence a place of its own.
pub const PROBE_DIRECTORY: &str = "probe";

/// The directory below the target directory that programs of a newer Debian than the machine's are unpacked in.
pub const NEWER_DEBIAN: &str = "newer-debian";

/// The directory below the target directory that has the agent's image for tests.
pub const IMAGE_DIRECTORY: &str = "image";
/// What an image is called where it is made.
pub const IMAGE_FILE: &str = "seccomp-agent.image.tar";

/// The agent, of the same build profile as the running program.
pub fn agent() -> anyhow::Result<PathBuf> {
    built(&profile_directory()?.join("seccomp-agent"))
}

/// The agent's image, of a program that is linked statically.
pub fn image() -> anyhow::Result<PathBuf> {
    built(&target_directory()?.join(IMAGE_DIRECTORY).join(IMAGE_FILE))
}

/// An example.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    built(&profile_directory()?.join("examples").join(name))
}

/// The probe, linked statically.
pub fn probe() -> anyhow::Result<PathBuf> {
    built(&target_directory()?.join(PROBE_DIRECTORY).join("debug/probe"))
}

/// Where programs of a newer Debian are: `mount` and `umount` of util-linux 2.41, `unshare` and `bwrap`, below `usr`.
pub fn newer_debian() -> anyhow::Result<PathBuf> {
    let directory = target_directory()?.join(NEWER_DEBIAN);
    ensure!(directory.exists(), "{} is not there: use `cargo xtask test`", directory.display());
    Ok(directory)
}

/// busybox, linked statically.
pub fn busybox() -> anyhow::Result<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .context("there is no busybox: install the package busybox-static")
}

/// Where the Kubernetes node of the tier `cluster` is built and runs: in the user's cache, since building takes long.
pub fn node() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = named.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Ok(cache.context("this user has no home directory")?.join("seccomp-agent/cluster"))
}

/// Cargo's target directory.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let profile = profile_directory()?;
    Ok(profile.parent().context("the target directory has no parent")?.to_owned())
}

/// The directory of the running program's profile: `target/debug` or `target/release`.
fn profile_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let directory = program.parent().context("this program is in no directory")?;
    // Tests are in `deps` below it.
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    Ok(directory.context("this program is not below a target directory")?.to_owned())
}

fn built(path: &Path) -> anyhow::Result<PathBuf> {
    ensure!(path.exists(), "{} is not built: use `cargo xtask test` or `cargo xtask demo`", path.display());
    Ok(path.to_owned())
}

/// Copies a program. Not by this process: what it has open for writing while another thread forks cannot be executed.
pub fn copy(program: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg(program).arg(to).status().context("cp does not run")?;
    ensure!(status.success(), "cannot copy {} to {}", program.display(), to.display());
    Ok(())
}
