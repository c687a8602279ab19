//! An image, packed as `docker save` does, of a bundle's root filesystem.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use seccomp_agent_tests::run_for;
use serde_json::json;

/// Its name.
pub(crate) const IMAGE: &str = "localhost/seccomp-agent-tests:latest";

/// How long packing may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Packs `rootfs` in `directory`. What the image runs by default is the probe, which waits: so it also is the image
/// of a pod's sandbox.
pub(crate) fn pack(rootfs: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let layer = directory.join("layer.tar");
    tar(rootfs, &layer, &["."])?;
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Entrypoint": ["/bin/probe", "pause"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer)?)]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    std::fs::write(directory.join("config.json"), config.to_string())?;
    std::fs::write(directory.join("manifest.json"), manifest.to_string())?;
    let archive = directory.join("image.tar");
    tar(directory, &archive, &["manifest.json", "config.json", "layer.tar"])?;
    Ok(archive)
}

fn tar(directory: &Path, archive: &Path, names: &[&str]) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    let ended = run_for(DEADLINE, tar.arg("-C").arg(directory).arg("-cf").arg(archive).args(names))?;
    ensure!(ended.success(), "tar: {ended}");
    Ok(())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let ended = run_for(DEADLINE, Command::new("sha256sum").arg(path))?;
    ensure!(ended.success(), "sha256sum: {ended}");
    Ok(ended.stdout.split_whitespace().next().context("sha256sum says nothing")?.to_owned())
}
