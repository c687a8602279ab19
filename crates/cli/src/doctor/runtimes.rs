use std::process::{Command, Stdio};

use super::Finding;

const CHECK: &str = "runtimes";
/// The first runc that hands listeners over, and the first libseccomp that can have calls notified.
const OLDEST_RUNC: [u32; 2] = [1, 1];
const OLDEST_LIBSECCOMP: [u32; 2] = [2, 5];

/// The runtimes in the PATH, and what starts them, by what they say of themselves.
pub(super) fn findings() -> Vec<Finding> {
    let found: Vec<_> =
        ["runc", "crun"].iter().filter_map(|name| said_by(name).map(|said| of(name, &said))).collect();
    let engines = ["containerd", "podman"].iter().filter_map(|name| said_by(name));
    let engines = engines.map(|said| Finding::ok(CHECK, said.lines().next().unwrap_or_default().trim()));
    if found.is_empty() {
        let nothing = "neither runc nor crun is in the PATH";
        return vec![Finding::note(
            CHECK,
            nothing,
            "nothing, if they are elsewhere; in a pod, run this on the node",
        )];
    }
    found.into_iter().chain(engines).collect()
}

fn said_by(name: &str) -> Option<String> {
    let output = Command::new(name).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of(name: &str, said: &str) -> Finding {
    let first = said.lines().next().unwrap_or_default().trim().to_owned();
    // runc: `libseccomp: 2.5.4`. crun names what it was built with, without versions: `+SECCOMP`.
    let libseccomp = said.lines().find_map(|line| line.strip_prefix("libseccomp: "));
    let is_built_with =
        libseccomp.map_or(said.contains("+SECCOMP"), |version| is_at_least(version, OLDEST_LIBSECCOMP));
    let version = first.rsplit(' ').next().unwrap_or_default();
    if name == "runc" && !is_at_least(version, OLDEST_RUNC) {
        return Finding::wrong(
            CHECK,
            format!("{first}: it hands no listeners over"),
            "runc 1.1.0 or later is needed",
        );
    }
    if !is_built_with {
        let found = format!(
            "{first}, with {}",
            libseccomp.map_or("no libseccomp".to_owned(), |v| format!("libseccomp {v}"))
        );
        return Finding::wrong(CHECK, found, "a build of it with libseccomp 2.5 or later is needed");
    }
    Finding::ok(
        CHECK,
        libseccomp.map_or(first.clone(), |version| format!("{first}, with libseccomp {version}")),
    )
}

/// Of a version such as `1.1.5+ds1`, the first two numbers.
fn is_at_least(version: &str, oldest: [u32; 2]) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= oldest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn runtimes_are_judged_by_what_they_say() {
        for (name, said, state) in [
            ("runc", "runc version 1.1.5+ds1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n", State::Ok),
            ("runc", "runc version 1.0.3\nspec: 1.0.2-dev\nlibseccomp: 2.5.4\n", State::Wrong),
            ("runc", "runc version 1.1.5\nlibseccomp: 2.4.1\n", State::Wrong),
            ("runc", "runc version 1.2.0\nspec: 1.2.0\n", State::Wrong),
            (
                "crun",
                "crun version 1.8.1\ncommit: f8a\nspec: 1.0.0\n+SYSTEMD +SELINUX +CAP +SECCOMP +EBPF\n",
                State::Ok,
            ),
            ("crun", "crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD\n", State::Wrong),
        ] {
            assert_eq!(of(name, said).state, state, "{said}");
        }
    }
}
