//! `cargo xtask test`: runs tiers, and adds up what cargo says.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::builder::PossibleValuesParser;

use crate::node::Node;
use crate::tier::{TIERS, Tier};
use crate::{build, command, dist, newer_debian, tools};

/// The name of all tiers together.
const ALL: &str = "all";

/// Which tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// unit: pure logic. kernel: real notifications, no privilege. kubefake: a Kubernetes API server that
    /// fails. runtime: root, containers under runc, crun, podman and docker. cri: root, pods under containerd.
    /// cluster: root and Go, pods of a Kubernetes node
    #[arg(long, default_value = ALL, value_parser = PossibleValuesParser::new(names()))]
    tier: String,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

/// Runs the tests that `options` ask for. The last line of output is the sum of their results.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let named = options.tier != ALL;
    let mut total = Count::default();
    let mut failures = Vec::new();
    let mut left_out = Vec::new();
    for tier in TIERS.iter().filter(|tier| !named || tier.name == options.tier) {
        eprintln!("==> tier {}", tier.name);
        let _node = match prepare(tier) {
            Ok(node) => node,
            Err(error) => {
                eprintln!("==> TIER {} CANNOT RUN: {error:#}", tier.name.to_uppercase());
                left_out.push(tier.name);
                continue;
            }
        };
        for arguments in tier.runs {
            if !test(arguments, options.filter.as_deref(), &mut total)? {
                failures.push(tier.name);
            }
        }
    }
    failures.dedup();
    for (what, tiers) in [("FAILED", &failures), ("NOT RUN", &left_out)] {
        if !tiers.is_empty() {
            eprintln!("==> {what}: {}", tiers.join(", "));
        }
    }
    println!("{total}");
    let must_run = named || std::env::var("CI").is_ok_and(|ci| ci == "true");
    let passed = failures.is_empty() && (left_out.is_empty() || !must_run);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What tests did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    /// What a line `test result: ok. 1 passed; 0 failed; 2 ignored; …` says.
    fn parse(line: &str) -> Option<Self> {
        let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let number = |what: &str| {
            numbers.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        Some(Self { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

fn names() -> Vec<&'static str> {
    TIERS.iter().map(|tier| tier.name).chain([ALL]).collect()
}

/// Sees to it that everything is there that `tier` needs, and starts the node, if it needs one.
fn prepare(tier: &Tier) -> anyhow::Result<Option<Node>> {
    let Some(tools) = tier.containers else { return Ok(None) };
    ensure!(tools::is_root(), "containers need root");
    tools::install(tools)?;
    if tier.on_a_node {
        dist::for_tests()?;
        return Node::start().map(Some);
    }
    build::probe()?;
    build::agent()?;
    build::examples()?;
    newer_debian::fetch()?;
    Ok(None)
}

/// Runs `cargo test`, passing on what it says and adding it to `total`; whether all passed.
fn test(arguments: &[&str], filter: Option<&str>, total: &mut Count) -> anyhow::Result<bool> {
    let mut cargo = command::cargo(["test", "--no-fail-fast"])?;
    cargo.args(arguments).args(filter).stdout(Stdio::piped());
    let mut child = cargo.spawn().with_context(|| format!("cannot run {}", command::shown(&cargo)))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if let Some(count) = Count::parse(&line) {
            *total += count;
        }
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_other_lines_are_not() {
        for (line, count) in [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s",
                Some(Count { passed: 12, failed: 0, skipped: 1 }),
            ),
            (
                "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
                Some(Count { passed: 2, failed: 1, skipped: 0 }),
            ),
            ("test demo::mkdir ... ok", None),
            ("", None),
        ] {
            assert_eq!(Count::parse(line), count, "{line}");
        }
    }

    #[test]
    fn the_last_line_is_plain() {
        let mut total = Count { passed: 1, failed: 2, skipped: 3 };
        total += total;
        assert_eq!(total.to_string(), "2 passed, 4 failed, 6 skipped");
    }
}
