//! What an agent that is killed loses of its recordings.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use seccomp_agent_recorder::Recording;
use seccomp_agent_tests::{Runc, eventually};

use super::{PATIENCE, Recorded, SCRIPT, call, serve};
use crate::program::Program;

/// Makes one call again and again, and writes down when. Nothing of that is notified.
const TICKING: &str = "import os, sys, time
with open(sys.argv[1], 'w', buffering=1) as ticks:
    while True:
        os.getpgid(0)
        ticks.write(f'{time.time()}\\n')
        time.sleep(0.01)";

/// The most that may be lost, in seconds.
const MOST: f64 = 1.0;

/// So many agents are killed, each at another moment between two writes. A machine that does other things may let one be
/// late.
const AGENTS: usize = 5;

/// How much of its container's work an agent sees before it is killed.
const TICKS: usize = 150;

#[test]
fn an_agent_that_is_killed_leaves_what_it_saw_to_the_next() {
    let mut recorded = Recorded::serving();
    let runc = Runc::new(&recorded.bed).unwrap();
    let bundle = recorded.bundle(&recorded.observe().everything());
    let waiting = bundle.command(&["sh", "-c", "mkdir /made; exec sleep 1000"]);
    let id = runc.unused_id("killed");
    runc.start(&id, &waiting).unwrap();
    let sleeps = |recording: &Recording| {
        ["nanosleep", "clock_nanosleep"].into_iter().any(|name| recording.seen(call(name)).is_some())
    };
    let is_asleep = |recording: &Recording| recording.seen(call("mkdir")).is_some() && sleeps(recording);
    let before = recorded.recording(is_asleep);
    recorded.daemon.signal(Signal::KILL).unwrap();
    recorded.daemon.wait().unwrap();
    assert_eq!(recorded.recording(is_asleep), before);

    recorded.daemon = serve(&recorded.bed, &[]);
    assert!(recorded.is_complete(), "{}", recorded.daemon.log());
    assert_eq!(recorded.recording(is_asleep), before);
    runc.delete(&id).unwrap();
    let bundle = recorded.bundle(&recorded.observe().everything());
    let ended = runc.run(&runc.unused_id("after"), &bundle.command(&SCRIPT)).unwrap();
    assert_eq!(ended.stdout, "one\ntwo\n", "{ended}");
    let both =
        recorded.recording(|recording| recording.runs() == 2 && recording.seen(call("rmdir")).is_some());
    assert_eq!(both.seen(call("mkdir")).unwrap().count, 2);
    assert!(sleeps(&both));
}

#[test]
fn of_what_was_seen_until_an_agent_was_killed_one_second_is_lost_at_most() {
    let mut lost: Vec<f64> = std::thread::scope(|scope| {
        let agents: Vec<_> = (0..AGENTS).map(|agent| scope.spawn(move || seconds_lost(agent))).collect();
        agents.into_iter().map(|agent| agent.join().unwrap()).collect()
    });
    lost.sort_by(f64::total_cmp);
    assert!(lost[AGENTS / 2] <= MOST, "{lost:?}");
}

/// From the first call that is not on disk to the end of the agent.
fn seconds_lost(agent: usize) -> f64 {
    let mut recorded = Recorded::serving();
    let runc = Runc::new(&recorded.bed).unwrap();
    let path = recorded.bed.path().join("ticks");
    let ticking = Program::python(TICKING, &[path.to_str().unwrap()]);
    let bundle = ticking.bundle().bind(recorded.bed.path(), recorded.bed.path().to_str().unwrap());
    let profile = recorded.observe().everything();
    let bundle = bundle.seccomp(serde_json::from_str(&profile.to_json()).unwrap());
    let id = runc.unused_id("ticking");
    runc.start(&id, &bundle).unwrap();
    assert!(eventually(PATIENCE, || ticks(&path).len() > TICKS + 10 * agent), "{}", recorded.daemon.log());
    recorded.daemon.signal(Signal::KILL).unwrap();
    let killed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    recorded.daemon.wait().unwrap();
    let seen = recorded.store.read(&super::name()).unwrap().and_then(|all| all.seen(call("getpgid")));
    let kept = usize::try_from(seen.map_or(0, |seen| seen.count)).unwrap();
    runc.delete(&id).unwrap();
    let ticks = ticks(&path);
    assert!(kept > 0 && kept <= ticks.len() + 1, "{kept} of {}", ticks.len());
    ticks.get(kept).map_or(0.0, |first| killed - first)
}

fn ticks(path: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may not be complete.
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete.lines().map(|line| line.parse().unwrap()).collect()
}
