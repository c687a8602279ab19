//! `cargo xtask fuzz`: runs the fuzz targets for a while.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use seccomp_agent_tests::binaries;

use crate::command;

/// Which targets to run, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// One target of `fuzz/fuzz_targets`; all of them if absent
    target: Option<String>,
    /// How long each runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs them. What is found is kept in fuzz/artifacts; inputs that reach new code grow in fuzz/grown, and such as
/// are worth keeping belong into fuzz/corpus, which the tests replay.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let targets = targets()?;
    if let Some(target) = &options.target {
        ensure!(targets.contains(target), "there is no target {target:?}, but {}", targets.join(", "));
    }
    let fuzz = cargo_fuzz()?;
    for target in targets.iter().filter(|target| options.target.as_ref().is_none_or(|only| only == *target)) {
        eprintln!("==> {target}");
        let grown = command::root()?.join("fuzz/grown").join(target);
        std::fs::create_dir_all(&grown).with_context(|| format!("cannot create {}", grown.display()))?;
        let mut run = nightly(&fuzz)?;
        run.env("CARGO_TARGET_DIR", binaries::target_directory()?.join("fuzz"));
        run.args(["run", target]).arg(grown).arg(format!("fuzz/corpus/{target}")).arg("--");
        command::run(run.arg(format!("-max_total_time={}", options.seconds)).arg("-timeout=10"))?;
    }
    Ok(())
}

/// The targets' names, sorted.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = command::root()?.join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<_> =
        files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Where cargo-fuzz is; it is built once, below the target directory, where it is not installed.
fn cargo_fuzz() -> anyhow::Result<PathBuf> {
    let tools = binaries::target_directory()?.join("tools");
    let built = tools.join("bin/cargo-fuzz");
    ensure!(
        command::output(nightly(Path::new("rustc"))?.arg("--version")).is_some(),
        "missing: a nightly compiler; install it: rustup toolchain install nightly"
    );
    for path in [PathBuf::from("cargo-fuzz"), built.clone()] {
        if command::output(Command::new(&path).arg("--version")).is_some() {
            return Ok(path);
        }
    }
    let mut install = command::cargo(["install", "--quiet", "--locked", "--root"])?;
    command::run(install.arg(&tools).arg("cargo-fuzz")).context(
        "missing: cargo-fuzz, and it cannot be installed; where there is a network: cargo install cargo-fuzz",
    )?;
    Ok(built)
}

/// `program` in the workspace's root, with the nightly compiler: libFuzzer's instrumentation takes one.
fn nightly(program: &Path) -> anyhow::Result<Command> {
    let mut toolchain = Command::new(program);
    toolchain.current_dir(command::root()?).env("RUSTUP_TOOLCHAIN", "nightly");
    // What this cargo has set for its own compiler would win over the other toolchain.
    toolchain.env_remove("CARGO").env_remove("RUSTC");
    Ok(toolchain)
}
