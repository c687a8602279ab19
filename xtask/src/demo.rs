//! `cargo xtask demo`: what the agent does, seen from inside containers.

mod points;
mod stage;

use anyhow::{bail, ensure};

use self::points::POINTS;
use self::stage::{Interruption, Stage};
use crate::tools::{self, Tool};
use crate::{build, command};

/// Builds and installs what is needed, shows all points, and cleans up. With root, under runc and under
/// `seccomp-agent run`; without, under the latter.
pub(crate) fn run() -> anyhow::Result<()> {
    let with_runc = tools::is_root();
    tools::install(if with_runc { &[Tool::Runc, Tool::Busybox] } else { &[Tool::Busybox] })?;
    eprintln!("building the agent");
    let agent = build::released_agent()?;
    build::probe()?;

    let interruption = Interruption::watch()?;
    println!("{}", versions(&agent));
    let mut wrong = 0;
    if with_runc {
        println!("\nContainers under runc, and an agent beside it");
        wrong += show(&Stage::runc(&agent, &interruption)?, &interruption)?;
    }
    println!("\nContainers under seccomp-agent run, which takes no root");
    wrong += show(&Stage::run(&agent, &interruption)?, &interruption)?;
    println!();
    ensure!(wrong == 0, "{wrong} of {} points do not hold", POINTS.len());
    println!("All {} points hold.", POINTS.len());
    Ok(())
}

/// Shows all points on `stage`, and says how many do not hold.
fn show(stage: &Stage, interruption: &Interruption) -> anyhow::Result<u32> {
    let mut wrong = 0;
    for (number, point) in (1..).zip(POINTS) {
        println!("\n{number}. {}", point.title);
        let held = point.show(stage);
        if interruption.came() {
            bail!("interrupted; everything is cleaned up");
        }
        if let Err(error) = held {
            println!("   WRONG: {error:#}");
            wrong += 1;
        }
    }
    Ok(wrong)
}

/// What is shown at work here.
fn versions(agent: &std::path::Path) -> String {
    let first = |program: &mut std::process::Command| {
        let said = command::output(program).unwrap_or_default();
        said.lines().next().unwrap_or_default().to_owned()
    };
    let linux = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let all = [
        first(std::process::Command::new(agent).arg("--version")),
        first(std::process::Command::new("runc").arg("--version")),
        format!("Linux {}", linux.trim()),
    ];
    all.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(", ")
}
