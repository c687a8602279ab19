//! A program that is recorded and then runs under the profile of its recording.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Ended, Runc, WITHOUT_UNIFIED_CGROUPS, binaries, run_for};
use serde_json::Value;

/// How long one run may take: none needs a tenth of it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How long a recorded run may take: one that a signal has led astray is ended by then.
const RECORDED: &str = "30s";

/// How many runs are recorded, and how many may be lost: what a signal interrupts before it is received may fail, in a
/// program that cannot cope with that.
const RUNS: usize = 3;
const LOST: usize = 5;

/// Where programs and their libraries are, in the container as on the host.
const SHARED: [&str; 5] = ["/usr", "/lib", "/lib64", "/etc", "/run"];

/// A program, and its recordings.
pub(crate) struct Program {
    pub(crate) bed: Bed,
    pub(crate) words: Vec<String>,
}

/// What it writes, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) code: Option<i32>,
}

impl Program {
    pub(crate) fn new(words: &[&str]) -> Self {
        Self { bed: Bed::new().unwrap(), words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// A script of this directory's `programs`, by the distribution's Python.
    pub(crate) fn python(script: &str, words: &[&str]) -> Self {
        Self::new(&[&["/usr/bin/python3", "-I", "-c", script], words].concat())
    }

    /// How it ends when nobody watches it.
    pub(crate) fn unwatched(&self) -> Outcome {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().env("PATH", "/bin");
        Outcome::of(&run_for(DEADLINE, &mut command).unwrap())
    }

    /// Records it by the launcher until three runs ended as they do without.
    pub(crate) fn record(&self) -> Outcome {
        self.record_by(|| {
            let mut record = agent(&["record", "--duration", RECORDED, "--name", "program"]);
            record.args(["--recordings", &self.store(), "--"]).args(&self.words);
            record
        })
    }

    /// [`record`](Self::record), in a container of this runtime.
    pub(crate) fn record_under(&self, runtime: &str) -> Outcome {
        let bundle = self.bundle();
        let bundle = bundle.write().unwrap();
        let wrapping = if runtime == "crun" { &WITHOUT_UNIFIED_CGROUPS[..] } else { &[] };
        self.record_by(|| {
            let agent = binaries::agent().unwrap();
            let words = [wrapping, &[agent.to_str().unwrap()]].concat();
            let mut record = Command::new(words[0]);
            record.args(&words[1..]).args(["record", "--duration", RECORDED, "--name", "program"]);
            record.args(["--recordings", &self.store(), "--runtime", runtime, "--bundle"]).arg(bundle);
            record
        })
    }

    fn record_by(&self, record: impl Fn() -> Command) -> Outcome {
        let expected = self.unwatched();
        let (mut good, mut lost) = (0, Vec::new());
        while good < RUNS {
            let ended = run_for(DEADLINE, &mut record()).unwrap();
            if Outcome::of(&ended) == expected {
                good += 1;
            } else {
                lost.push(ended.to_string());
                assert!(lost.len() <= LOST, "{expected:?}: {lost:?}");
            }
        }
        expected
    }

    pub(crate) fn store(&self) -> String {
        self.bed.path().join("recordings").to_str().unwrap().to_owned()
    }

    /// The profile of the recording, made with these options; `minimal` since a busy machine has the C library wait, or the
    /// allocator give back, where no recorded run had it do so.
    pub(crate) fn profile(&self, options: &[&str]) -> PathBuf {
        let path = self.bed.subdirectory("profile.").unwrap().join("profile.json");
        let mut command = agent(&["recordings", "profile", "program", "--recordings", &self.store()]);
        command.args(["--base", "minimal"]).args(options).arg("--output").arg(&path);
        let made = run_for(DEADLINE, &mut command).unwrap();
        assert!(made.success(), "{made}");
        path
    }

    pub(crate) fn launched(&self, options: &[&str], profile: &Path) -> Ended {
        let mut run = agent(&["run", "--profile"]);
        run_for(DEADLINE, run.arg(profile).args(options).arg("--").args(&self.words)).unwrap()
    }

    pub(crate) fn bundle(&self) -> Bundle {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let mut bundle = Bundle::new(&self.bed).unwrap().command(&words);
        for place in SHARED.into_iter().filter(|place| Path::new(place).exists()) {
            bundle = bundle.bind(Path::new(place), place);
        }
        // Programs that a test has built.
        bundle.bind(self.bed.path(), self.bed.path().to_str().unwrap())
    }

    pub(crate) fn contained(&self, runtime: &Runc, profile: &Path, has_no_new_privs: bool) -> Ended {
        let bundle = self.bundle().seccomp(parsed(profile));
        let bundle = if has_no_new_privs { bundle } else { bundle.new_privileges() };
        runtime.run(&runtime.unused_id("program"), &bundle).unwrap()
    }

    /// Under the profile of its recording, everywhere, it does what it does without.
    pub(crate) fn is_enforced(&self) {
        let expected = self.record();
        self.is_enforced_with(&expected, &[]);
    }

    /// Under a profile of its recording that is made with these options.
    pub(crate) fn is_enforced_with(&self, expected: &Outcome, options: &[&str]) {
        let (runc, crun) = (Runc::new(&self.bed).unwrap(), Runc::crun(&self.bed).unwrap());
        for action in ["errno", "kill-process"] {
            let profile = self.profile(&[options, &["--default-action", action]].concat());
            let check = |ended: Ended, what: &str| {
                assert_eq!(Outcome::of(&ended), *expected, "{what}, {action}: {ended}");
            };
            check(self.launched(&[], &profile), "launcher");
            check(self.launched(&["--new-privs"], &profile), "launcher, new privileges");
            for (runtime, name) in [(&runc, "runc"), (&crun, "crun")] {
                check(self.contained(runtime, &profile, true), name);
                check(self.contained(runtime, &profile, false), &format!("{name}, new privileges"));
            }
        }
    }

    /// Without one of these calls, `verify` names it, and the program fails.
    pub(crate) fn needs(&self, calls: &[&str]) {
        let whole = parsed(&self.profile(&["--default-action", "kill-process"]));
        let (runc, crun) = (Runc::new(&self.bed).unwrap(), Runc::crun(&self.bed).unwrap());
        for call in calls {
            let path = self.bed.path().join("narrow.json");
            std::fs::write(&path, without(whole.clone(), call).to_string()).unwrap();
            assert!(self.verified(&path).contains(&(*call).to_owned()), "{call}");
            let ended = [
                self.launched(&[], &path),
                self.contained(&runc, &path, true),
                self.contained(&crun, &path, true),
            ];
            assert!(ended.iter().all(|ended| !ended.success()), "{call}: {ended:?}");
        }
    }

    /// The calls that `verify` says this profile would refuse.
    pub(crate) fn verified(&self, profile: &Path) -> Vec<String> {
        let mut verify = agent(&["profile", "verify", "--output", "json"]);
        let said = run_for(DEADLINE, verify.arg(profile).arg("--").args(&self.words)).unwrap();
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        let refused = report["refused"].as_array().unwrap();
        assert_eq!(said.status.code(), Some(i32::from(!refused.is_empty())), "{said}");
        refused.iter().map(|refused| refused["call"].as_str().unwrap().to_owned()).collect()
    }
}

impl Outcome {
    pub(crate) fn of(ended: &Ended) -> Self {
        Self { stdout: ended.stdout.clone(), code: ended.status.code() }
    }
}

/// The agent, with an environment like that of a bundle.
pub(crate) fn agent(words: &[&str]) -> Command {
    let mut command = Command::new(binaries::agent().unwrap());
    command.args(words).env_clear().env("PATH", "/bin");
    command
}

pub(crate) fn parsed(profile: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap()
}

/// A profile that lacks a call.
fn without(mut profile: Value, call: &str) -> Value {
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        rule["names"].as_array_mut().unwrap().retain(|name| name != call);
    }
    profile
}
