//! `cargo xtask demo`: what the agent does, seen from inside containers.

mod points;
mod stage;

use anyhow::{bail, ensure};

use self::points::POINTS;
use self::stage::Stage;
use crate::tools::{self, Tool};
use crate::{build, command};

/// Builds and installs what is needed, shows all points, and cleans up.
pub(crate) fn run() -> anyhow::Result<()> {
    let tools = tools::install(&[Tool::Runc, Tool::Busybox]);
    if !tools::is_root() {
        match tools {
            Err(missing) => bail!("containers need root; {missing}"),
            Ok(()) => bail!("containers need root: run this as root"),
        }
    }
    tools?;
    eprintln!("building the agent");
    let agent = build::released_agent()?;
    build::probe()?;

    let stage = Stage::set(&agent)?;
    println!("{}", versions(&agent));
    let mut wrong = 0;
    for (number, point) in (1..).zip(POINTS) {
        println!("\n{number}. {}", point.title);
        let held = point.show(&stage);
        if stage.is_interrupted() {
            bail!("interrupted; everything is cleaned up");
        }
        if let Err(error) = held {
            println!("   WRONG: {error:#}");
            wrong += 1;
        }
    }
    println!();
    ensure!(wrong == 0, "{wrong} of {} points do not hold", POINTS.len());
    println!("All {} points hold.", POINTS.len());
    Ok(())
}

/// What is shown at work here.
fn versions(agent: &std::path::Path) -> String {
    let first = |program: &mut std::process::Command| {
        let said = command::output(program).unwrap_or_default();
        said.lines().next().unwrap_or_default().to_owned()
    };
    let linux = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {}, Linux {}",
        first(std::process::Command::new(agent).arg("--version")),
        first(std::process::Command::new("runc").arg("--version")),
        linux.trim()
    )
}
