use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{chdir, chroot};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Finding, Node, containerd};

const CHECK: &str = "runtimes";
/// The first runc that hands listeners over, and the first libseccomp that can have calls notified.
const OLDEST_RUNC: [u32; 2] = [1, 1];
const OLDEST_LIBSECCOMP: [u32; 2] = [2, 5];

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// Runtimes, and what starts them.
const PROGRAMS: [&str; 5] = ["runc", "crun", "containerd", "crio", "podman"];
/// How the versions of those begin that are judged.
const RUNC: &str = "runc version ";
const CRUN: &str = "crun version ";
/// Where a machine that is not here has its programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin";

/// The runtimes of the machine, in the PATH and as containerd's configuration names them, and what starts them, by what they
/// say of themselves.
pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let mut programs = PROGRAMS.map(str::to_owned).to_vec();
    programs.extend(containerd::programs(node));
    let all = match all_said(&node.root, &programs) {
        Ok(all) => all,
        Err(error) => {
            let found = format!("nothing can be executed in {}: {error}", node.root.display());
            let mend = "run this as root; in a pod, with the capability SYS_CHROOT, as deploy/ does";
            return vec![Finding::note(CHECK, found, mend)];
        }
    };
    let mut findings: Vec<_> = all.iter().map(|(program, answer)| of(program, answer)).collect();
    let is_runtime = |said: &str| said.contains(RUNC) || said.contains(CRUN);
    if !all.iter().any(|(_, answer)| matches!(answer, Answer::Said(said) if is_runtime(said))) {
        let mend = "nothing, if they are elsewhere; in a pod, --root /proc/1/root";
        findings.push(Finding::note(CHECK, "neither runc nor crun is in the PATH", mend));
    }
    findings
}

/// What a program answers when it is asked for its version.
#[derive(PartialEq, Eq)]
enum Answer {
    Said(String),
    /// It did not end.
    None,
}

/// What programs say of themselves, in the machine whose files are below `root`; nothing of those that are not there.
fn all_said<'a>(root: &Path, programs: &'a [String]) -> io::Result<Vec<(&'a str, Answer)>> {
    // That machine need not have one.
    let nothing = File::open("/dev/null")?;
    // What it starts, it starts from the thread that asks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = |path: Option<&str>| {
        let mut all: Vec<(&str, Answer)> = Vec::new();
        for program in programs {
            // One may have several names.
            let answer = runtime.block_on(said_by(program, path, &nothing)).filter(|answer| {
                *answer == Answer::None || !all.iter().any(|(_, earlier)| earlier == answer)
            });
            all.extend(answer.map(|answer| (program.as_str(), answer)));
        }
        all
    };
    if root == Path::new("/") {
        return Ok(ask(None));
    }
    std::thread::scope(|scope| {
        // The root is that of this thread alone, and of what it starts.
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS)?;
            chroot(root)?;
            chdir("/")?;
            Ok(ask(Some(PATH)))
        });
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a program that is there and works says of itself.
async fn said_by(program: &str, path: Option<&str>, nothing: &File) -> Option<Answer> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(nothing.try_clone().ok()?).kill_on_drop(true);
    command.envs(path.map(|path| ("PATH", path)));
    let Ok(ended) = timeout(PATIENCE, command.output()).await else { return Some(Answer::None) };
    let output = ended.ok()?;
    output.status.success().then(|| Answer::Said(String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn of(program: &str, answer: &Answer) -> Finding {
    match answer {
        Answer::Said(said) => judged(program, said),
        Answer::None => {
            let found = format!("{program} --version has not ended within {} s", PATIENCE.as_secs());
            Finding::wrong(
                CHECK,
                found,
                format!("see what {program} waits for: containers will wait for it too"),
            )
        }
    }
}

/// Some wrap a runtime and say its version after their own. One that was named by its path is shown by it.
fn judged(program: &str, said: &str) -> Finding {
    let line = |begin: &str| said.lines().find(|line| line.starts_with(begin)).map(str::trim);
    let (is_runc, version) = match (line(RUNC), line(CRUN)) {
        (Some(version), _) => (true, version),
        (None, Some(version)) => (false, version),
        (None, None) => return Finding::ok(CHECK, said.lines().next().unwrap_or_default().trim()),
    };
    let place = if program.contains('/') { format!("{program}: ") } else { String::new() };
    if is_runc && !is_at_least(version.trim_start_matches(RUNC), OLDEST_RUNC) {
        let found = format!("{place}{version}: it hands no listeners over");
        return Finding::wrong(CHECK, found, "runc 1.1.0 or later is needed");
    }
    // runc: `libseccomp: 2.5.4`. crun names what it was built with, without versions: `+SECCOMP`.
    let libseccomp = line("libseccomp: ").map(|line| line.trim_start_matches("libseccomp: "));
    let is_built_with =
        libseccomp.map_or(said.contains("+SECCOMP"), |version| is_at_least(version, OLDEST_LIBSECCOMP));
    if !is_built_with {
        let with = libseccomp.map_or("no libseccomp".to_owned(), |version| format!("libseccomp {version}"));
        let found = format!("{place}{version}, with {with}");
        return Finding::wrong(CHECK, found, "a build of it with libseccomp 2.5 or later is needed");
    }
    let with = libseccomp.map(|version| format!(", with libseccomp {version}"));
    Finding::ok(CHECK, format!("{place}{version}{}", with.unwrap_or_default()))
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
        for (said, state) in [
            ("runc version 1.1.5+ds1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n", State::Ok),
            ("runc version 1.0.3\nspec: 1.0.2-dev\nlibseccomp: 2.5.4\n", State::Wrong),
            ("runc version 1.1.5\nlibseccomp: 2.4.1\n", State::Wrong),
            ("runc version 1.2.0\nspec: 1.2.0\n", State::Wrong),
            (
                "crun version 1.8.1\ncommit: f8a\nspec: 1.0.0\n+SYSTEMD +SELINUX +CAP +SECCOMP +EBPF\n",
                State::Ok,
            ),
            ("crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD\n", State::Wrong),
            ("Wrapper version 9.9\nspec: 1.2.0\n\nrunc version 1.0.3\nlibseccomp: 2.5.4\n", State::Wrong),
            ("containerd github.com/containerd/containerd 1.6.20 0a1b\n", State::Ok),
        ] {
            assert_eq!(judged("runc", said).state, state, "{said}");
        }
    }
}
