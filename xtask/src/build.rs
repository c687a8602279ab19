//! Building the programs that the test bed runs.

use std::path::PathBuf;

use anyhow::Context;
use seccomp_agent_tests::binaries;

use crate::command;

/// Builds the agent as tests run it, without optimisation.
pub(crate) fn agent() -> anyhow::Result<()> {
    command::run(&mut command::cargo(["build", "--package", "seccomp-agent"])?)
}

/// Builds the examples.
pub(crate) fn examples() -> anyhow::Result<()> {
    command::run(&mut command::cargo(["build", "--package", "seccomp-agent-examples", "--examples"])?)
}

/// Builds the agent as it is shipped, and says where it is.
pub(crate) fn released_agent() -> anyhow::Result<PathBuf> {
    command::run(&mut command::cargo(["build", "--quiet", "--release", "--package", "seccomp-agent"])?)?;
    Ok(binaries::target_directory()?.join("release/seccomp-agent"))
}

/// Builds the probe, linked statically: only this program may see that flag, so it has a target directory of
/// its own.
pub(crate) fn probe() -> anyhow::Result<()> {
    let directory = binaries::target_directory()?.join(binaries::PROBE_DIRECTORY);
    let mut build = command::cargo(["rustc", "--quiet", "--package", "seccomp-agent-probe"])?;
    build.arg("--target-dir").arg(directory).args(["--", "-C", "target-feature=+crt-static"]);
    command::run(&mut build).context("cannot build the probe")
}
