//! Recordings of `serve`: of containers that ask for it, kept while they run, enforced afterwards.

mod killed;
mod progressive;

use std::time::Duration;

use seccomp_agent_profile::Profile;
use seccomp_agent_recorder::{Enforce, Name, Observe, Origin, Recording, Store, Target};
use seccomp_agent_syscall::{Arch, Syscall};
use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, Serve, eventually};
use serde_json::Value;

/// One process after the other: a child that ends while the shell forks the next has it fail with EINTR, where that call
/// is notified.
const SCRIPT: [&str; 3] = ["sh", "-c", "echo one; mkdir /made; rmdir /made; sh -c 'echo two'"];

/// Nothing here takes as long, but for a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(30);

struct Recorded {
    daemon: Daemon,
    store: Store,
    // What is in it goes last.
    bed: Bed,
}

impl Recorded {
    fn serving() -> Self {
        Self::serving_in(Bed::new().unwrap(), &[])
    }

    fn serving_in(bed: Bed, more: &[&str]) -> Self {
        let daemon = serve(&bed, more);
        let store = Store::open(bed.path().join("recordings")).unwrap();
        Self { daemon, store, bed }
    }

    fn observe(&self) -> Observe {
        Observe::new(name(), self.daemon.socket().to_str().unwrap())
    }

    fn bundle(&self, profile: &Profile) -> Bundle {
        let profile: Value = serde_json::from_str(&profile.to_json()).unwrap();
        Bundle::new(&self.bed).unwrap().seccomp(profile)
    }

    /// The recording, once it holds.
    #[track_caller]
    fn recording(&self, holds: impl Fn(&Recording) -> bool) -> Recording {
        let read = || self.store.read(&name()).unwrap().filter(&holds);
        assert!(eventually(PATIENCE, || read().is_some()), "{}", self.daemon.log());
        read().unwrap()
    }

    /// Whether no run is left that has not ended.
    fn is_complete(&self) -> bool {
        std::fs::read_dir(self.bed.path().join("recordings")).unwrap().count() == 1
    }
}

fn serve(bed: &Bed, more: &[&str]) -> Daemon {
    let directory = bed.path().join("recordings");
    let arguments: Vec<_> =
        ["--recordings", directory.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
    Serve::new(bed, &arguments).unwrap().with_metrics().unwrap().start().unwrap()
}

fn name() -> Name {
    "web".parse().unwrap()
}

fn call(name: &str) -> Syscall {
    Syscall::named(Arch::native(), name).unwrap()
}

fn runtimes(bed: &Bed) -> [(Target, Runc); 2] {
    [(Target::Runc, Runc::new(bed).unwrap()), (Target::Crun, Runc::crun(bed).unwrap())]
}

#[test]
fn what_was_recorded_of_a_container_and_its_exec_is_enough_for_the_next() {
    let recorded = Recorded::serving();
    for (target, runtime) in runtimes(&recorded.bed) {
        recorded.store.remove(&name()).unwrap();
        let everything = recorded.observe().under(target).everything();
        for _ in 0..2 {
            let ended = runtime
                .run(&runtime.unused_id("seen"), &recorded.bundle(&everything).command(&SCRIPT))
                .unwrap();
            assert_eq!(ended.stdout, "one\ntwo\n", "{target}: {ended}\n{}", recorded.daemon.log());
        }
        let id = runtime.unused_id("seen-exec");
        runtime.start(&id, &recorded.bundle(&everything).command(&["probe", "pause"])).unwrap();
        let ended = runtime.exec(&id, &["sh", "-c", "ln -s none /link; echo done"]).unwrap();
        assert_eq!(ended.stdout, "done\n", "{ended}\n{}", recorded.daemon.log());
        let is_seen =
            |recording: &Recording| recording.runs() == 3 && recording.seen(call("symlink")).is_some();
        recorded.recording(is_seen);
        runtime.delete(&id).unwrap();
        assert!(eventually(PATIENCE, || recorded.is_complete()), "{}", recorded.daemon.log());

        let recording = recorded.recording(|recording| recording.runs() == 3);
        let mkdir = recording.seen(call("mkdir")).unwrap();
        assert_eq!((mkdir.count, mkdir.runs), (2, 2));
        assert_eq!(mkdir.by, [Origin::Start].into());
        let caller = mkdir.caller.unwrap();
        assert!(caller.comm == "mkdir" && caller.exe.ends_with("busybox"), "{caller:?}");
        assert!(!recording.seen(call("symlink")).unwrap().by.contains(&Origin::Start));
        assert!(recording.runtimes().contains(target.name()), "{:?}", recording.runtimes());

        let (profile, _) = Enforce::new().under(target).profile(&recording);
        for privileged in [false, true] {
            let bundle = || match recorded.bundle(&profile) {
                bundle if privileged => bundle.new_privileges(),
                bundle => bundle,
            };
            let ended = runtime.run(&runtime.unused_id("enforced"), &bundle().command(&SCRIPT)).unwrap();
            assert_eq!(ended.stdout, "one\ntwo\n", "{target}: {ended}");
            let refused = bundle().command(&["chroot", "/", "true"]);
            let ended = runtime.run(&runtime.unused_id("refused"), &refused).unwrap();
            assert!(ended.stderr.contains("not permitted"), "{target}: {ended}");
        }
    }
}

#[test]
fn two_agents_can_record_into_one_directory() {
    let ours = Recorded::serving();
    let other = Bed::new().unwrap();
    let directory = ours.bed.path().join("recordings");
    let theirs = Daemon::serve(&other, &["--recordings", directory.to_str().unwrap()]).unwrap();
    std::thread::scope(|scope| {
        for (bed, socket) in [(&ours.bed, ours.daemon.socket()), (&other, theirs.socket())] {
            let ours = &ours;
            scope.spawn(move || {
                let runc = Runc::new(bed).unwrap();
                let profile = Observe::new(name(), socket.to_str().unwrap()).everything();
                for _ in 0..3 {
                    let ended =
                        runc.run(&runc.unused_id("both"), &ours.bundle(&profile).command(&SCRIPT)).unwrap();
                    assert_eq!(ended.stdout, "one\ntwo\n", "{ended}");
                }
            });
        }
    });
    let all = ours.recording(|recording| recording.runs() == 6 && ours.is_complete());
    assert_eq!(all.seen(call("mkdir")).unwrap().count, 6);
}

#[test]
fn a_call_that_the_profile_lacks_is_named_allowed_or_refused_and_amended() {
    let bed = Bed::new().unwrap();
    let policy = bed.path().join("policy.yaml");
    let rules = "version: 1\nrules:\n\
        - {name: refused, match: {id: refused*}, complain: {name: web, deny: true}}\n\
        - {name: others, match: {}, honour: {metadata: [RECORD, COMPLAIN]}}\n";
    std::fs::write(&policy, rules).unwrap();
    let recorded = Recorded::serving_in(bed, &["--policy", policy.to_str().unwrap()]);
    for (target, runtime) in runtimes(&recorded.bed) {
        recorded.store.remove(&name()).unwrap();
        let observe = recorded.observe().under(target);
        let run = |id: &str, profile: &Profile, command: &[&str]| {
            runtime.run(&runtime.unused_id(id), &recorded.bundle(profile).command(command)).unwrap()
        };
        for _ in 0..2 {
            assert!(run("seen", &observe.everything(), &["sh", "-c", "sh -c :; echo one"]).success());
        }
        let recording = recorded.recording(|recording| recording.runs() == 2 && recorded.is_complete());
        let (profile, _) = Enforce::new().under(target).profile(&recording);
        let complaining = observe.complaining(&profile);
        let make = ["sh", "-c", "echo one; mkdir /made && echo made"];
        let ended = run("allowed", &complaining, &make);
        assert_eq!(ended.stdout, "one\nmade\n", "{target}: {ended}\n{}", recorded.daemon.log());
        let ended = run("refused", &complaining, &make);
        assert_eq!(ended.stdout, "one\n", "{target}: {ended}\n{}", recorded.daemon.log());
        for decision in ["violation allowed", "violation refused"] {
            let told = ["syscall=mkdir", "comm=\"mkdir\"", "recording=\"web\"", decision];
            assert!(recorded.daemon.logs(&told), "{}", recorded.daemon.log());
        }
        let violations = || recorded.store.violations(&name()).unwrap();
        let is_whole =
            || violations().is_some_and(|all| all.seen(call("mkdir")).is_some_and(|seen| seen.runs == 2));
        assert!(eventually(PATIENCE, is_whole), "{:?}\n{}", violations(), recorded.daemon.log());
        let metrics = recorded.daemon.metrics().unwrap();
        assert!(
            metrics.sum("seccomp_agent_violations_total", &[("recording", "web")]) >= 2.0,
            "{}",
            metrics.text()
        );

        let amended = recorded.store.amend(&name()).unwrap().unwrap();
        let (profile, _) = Enforce::new().under(target).profile(&amended);
        let ended = run("amended", &profile, &make);
        assert_eq!(ended.stdout, "one\nmade\n", "{target}: {ended}");
    }
}
