//! `cargo xtask ci`: everything that a change has to pass.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use seccomp_agent_tests::binaries;

use crate::command;

/// A step: its name, and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

/// The quick ones first.
const STEPS: &[Step] = &[
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("lints", lints),
    ("dependencies", dependencies),
    ("documentation", documentation),
    ("packages", packages),
    ("tests", || cargo(&["xtask", "test"])),
    ("benchmarks", || cargo(&["xtask", "bench"])),
];

/// Runs all steps, and shows what each took.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut done: Vec<(&str, Duration, bool)> = Vec::new();
    for (name, step) in STEPS {
        eprintln!("==> {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            eprintln!("==> {name} failed: {error:#}");
        }
        done.push((name, start.elapsed(), outcome.is_ok()));
    }
    eprintln!();
    for (name, took, passed) in &done {
        eprintln!("{name:<14} {:>7.1} s  {}", took.as_secs_f64(), if *passed { "passed" } else { "FAILED" });
    }
    let failed: Vec<_> = done.iter().filter(|(.., passed)| !passed).map(|(name, ..)| *name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Cargo, with `CI=true`: what cannot run is a failure, and what takes long is cut short.
fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    command::run(command::cargo(arguments)?.env("CI", "true"))
}

/// Of the fuzz targets as well, which are a workspace of their own and need no fuzzer for this.
fn lints() -> anyhow::Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml", "--no-default-features"];
    let mut clippy = command::cargo(["clippy"])?;
    clippy.args(fuzz).args(["--", "-D", "warnings"]);
    command::run(clippy.env("CARGO_TARGET_DIR", binaries::target_directory()?))
}

/// Licences, bans and sources; advisories where their database can be fetched.
fn dependencies() -> anyhow::Result<()> {
    let deny = cargo_deny()?;
    let deny = |arguments: &[&str]| -> anyhow::Result<Command> {
        let mut command = Command::new(&deny);
        command.current_dir(command::root()?).args(arguments);
        Ok(command)
    };
    command::run(&mut deny(&["check", "bans", "licenses", "sources"])?)?;
    if deny(&["fetch", "db"])?.output()?.status.success() {
        command::run(&mut deny(&["check", "--disable-fetch", "advisories"])?)
    } else {
        eprintln!("==> ADVISORIES NOT CHECKED: their database cannot be fetched from here");
        Ok(())
    }
}

/// Where cargo-deny is; it is built once, below the target directory, where it is not installed.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let tools = binaries::target_directory()?.join("tools");
    let built = tools.join("bin/cargo-deny");
    for path in [PathBuf::from("cargo-deny"), built.clone()] {
        if command::output(Command::new(&path).arg("--version")).is_some() {
            return Ok(path);
        }
    }
    let mut install = command::cargo(["install", "--quiet", "--locked", "--root"])?;
    command::run(install.arg(&tools).arg("cargo-deny"))?;
    Ok(built)
}

fn documentation() -> anyhow::Result<()> {
    let mut doc = command::cargo(["doc", "--quiet", "--workspace", "--no-deps"])?;
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Everything in `crates/` has to be fit for publishing. That it compiles is shown by the tests.
fn packages() -> anyhow::Result<()> {
    let members = command::output(&mut command::cargo(["tree", "--workspace", "--depth", "0"])?)
        .context("cargo tree does not list the workspace")?;
    let crates = command::root()?.join("crates");
    let mut package = command::cargo(["package", "--quiet", "--no-verify", "--allow-dirty"])?;
    // A line is `NAME vVERSION (DIRECTORY)`.
    for line in members.lines().filter(|line| line.contains(&format!("({}/", crates.display()))) {
        package.arg("--package").args(line.split(' ').next());
    }
    command::run(&mut package)
}
