//! Starts under the profile that notifies only what the ones before have not shown.

use seccomp_agent_profile::{Action, Profile};
use seccomp_agent_recorder::{Enforce, Target};
use seccomp_agent_tests::{Bed, Runc, eventually};

use super::{PATIENCE, Recorded, SCRIPT, runtimes};

/// How many starts it may take until one finds nothing new.
const STARTS: usize = 8;

/// What the first start shows, which is less than there is.
const PART: [&str; 3] = ["sh", "-c", "echo one"];

/// Starts of one container, each under the profile that the agent wrote after the one before.
struct Progress<'a> {
    recorded: &'a Recorded,
    runtime: &'a Runc,
    profile: Profile,
    starts: u64,
}

impl<'a> Progress<'a> {
    fn new(recorded: &'a Recorded, runtime: &'a Runc) -> Self {
        Self { recorded, runtime, profile: recorded.observe().everything(), starts: 0 }
    }

    /// Starts it once more; what it writes.
    fn start(&mut self, command: &[&str]) -> String {
        let Self { recorded, runtime, .. } = self;
        let bundle = recorded.bundle(&self.profile).command(command);
        let ended = runtime.run(&runtime.unused_id("progressive"), &bundle).unwrap();
        assert!(ended.success(), "{ended}\n{}", recorded.daemon.log());
        self.starts += 1;
        let is_complete = recorded.recording(|all| all.runs() == self.starts && recorded.is_complete());
        self.profile = recorded.observe().unknown(&is_complete);
        let path = recorded.bed.path().join("profiles/web.json");
        let written = || Profile::from_json(&std::fs::read(&path).ok()?).ok();
        let is_written = || written().as_ref() == Some(&self.profile);
        assert!(eventually(PATIENCE, is_written), "{:?}\n{}", written(), recorded.daemon.log());
        ended.stdout
    }
}

fn serving() -> Recorded {
    let bed = Bed::new().unwrap();
    let profiles = bed.path().join("profiles");
    Recorded::serving_in(bed, &["--recording-profiles", profiles.to_str().unwrap()])
}

#[test]
fn a_start_of_which_all_is_known_asks_nobody() {
    for crun in [false, true] {
        let recorded = serving();
        let runtime = if crun { Runc::crun(&recorded.bed) } else { Runc::new(&recorded.bed) }.unwrap();
        let mut progress = Progress::new(&recorded, &runtime);
        let mut asked = Vec::new();
        let notified = || recorded.daemon.metrics().unwrap().sum("seccomp_agent_answer_seconds_count", &[]);
        // What the threads of runc's own Go runtime do differs from start to start; three are enough as a rule.
        while asked.last() != Some(&0.0) && asked.len() < STARTS {
            let before = notified();
            assert_eq!(progress.start(&SCRIPT), "one\ntwo\n");
            asked.push(notified() - before);
        }
        assert!(asked[0] > 50.0 && asked.last() == Some(&0.0), "{asked:?}");
    }
}

#[test]
fn what_three_such_starts_have_shown_is_enough_for_the_next_under_either_runtime() {
    let bed = Bed::new().unwrap();
    for (recorder, runtime) in runtimes(&bed) {
        let recorded = serving();
        let mut progress = Progress::new(&recorded, &runtime);
        assert_eq!(progress.start(&PART), "one\n");
        for _ in 0..2 {
            assert_eq!(progress.start(&SCRIPT), "one\ntwo\n");
        }
        let recording = recorded.recording(|recording| recording.runs() == 3);
        for (target, runtime) in runtimes(&recorded.bed) {
            for target in [target, Target::Any] {
                let enforce = Enforce::new().under(target).otherwise(Action::KillProcess);
                let (profile, _) = enforce.profile(&recording);
                let bundle = || recorded.bundle(&profile).command(&SCRIPT);
                for bundle in [bundle(), bundle().new_privileges()] {
                    let ended = runtime.run(&runtime.unused_id("enforced"), &bundle).unwrap();
                    assert_eq!(ended.stdout, "one\ntwo\n", "{recorder}, for {target}: {ended}");
                }
            }
        }
    }
}
