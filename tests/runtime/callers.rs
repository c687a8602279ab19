//! Callers of every kind: many threads, killed, stopped, and those of a profile that notifies everything.

use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, profile};

fn run(notified: &[&str], command: &[&str]) -> Ended {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &[]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle =
        Bundle::new(&bed).unwrap().seccomp(profile::notifying(notified, daemon.socket())).command(command);
    let ended = runc.run(&runc.unused_id("callers"), &bundle).unwrap();
    assert!(ended.success(), "{ended}\n{}", daemon.log());
    ended
}

#[test]
fn all_threads_of_a_container_are_answered() {
    let ended = run(&["getppid"], &["probe", "threads", "--threads", "16", "--calls", "2000"]);
    assert_eq!(ended.stdout.trim(), "16 threads made 2000 calls each");
}

#[test]
fn callers_killed_inside_a_call_do_no_harm() {
    let ended = run(&["getppid", "execve", "wait4"], &["probe", "kill-callers", "--children", "100"]);
    assert_eq!(ended.stdout.trim(), "killed 100 callers");
}

#[test]
fn callers_stopped_inside_a_call_are_answered_when_they_go_on() {
    let ended = run(&["getppid"], &["probe", "stop-callers", "--times", "100"]);
    assert_eq!(ended.stdout.trim(), "interrupted a caller 100 times");
}

#[test]
fn a_container_whose_every_call_is_notified_runs() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &[]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let script = "mkdir /abc && ls -d /abc && echo hello | cat && sleep 0.1 && uname -s";
    for bundle in [Bundle::new(&bed).unwrap(), Bundle::new(&bed).unwrap().new_privileges()] {
        let bundle =
            bundle.seccomp(profile::notifying_everything(daemon.socket())).command(&["sh", "-c", script]);
        let ended = runc.run(&runc.unused_id("everything"), &bundle).unwrap();
        assert_eq!(ended.stdout, "/abc\nhello\nLinux\n", "{ended}\n{}", daemon.log());
    }
}

#[test]
fn a_container_killed_while_its_call_is_held_leaves_the_agent_idle() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["execve"], daemon.socket()))
        .command(&["sh", "-c", "while :; do /bin/true; done"]);
    let killed_while_held = || {
        let id = runc.unused_id("held");
        runc.start(&id, &bundle).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        runc.delete(&id).unwrap();
        // The call would have been held for two seconds.
        std::thread::sleep(Duration::from_millis(2500));
        daemon.settled_usage().unwrap()
    };

    // The first container makes the agent start what it keeps.
    let before = killed_while_held();
    let after = killed_while_held();
    assert_eq!(after.descriptors, before.descriptors, "{before:?} {after:?}\n{}", daemon.log());
    assert!(after.cpu.saturating_sub(before.cpu).as_millis() < 300, "{before:?} {after:?}");
}
