//! What `serve` leaves its own threads.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, Serve, eventually, profile};

/// A container that makes directories as fast as it can, and waits for what is slow beside it.
const SCRIPT: &str = "i=0; while ! [ -e /end ]; do mkdir /d$i; /bin/true; i=$((i+1)); done";

const POLICY: &str = "
version: 1
rules:
  - name: all
    match: {}
    record: {name: sandboxed}
    grant: {directories: {suffix: -made}, falco: true}
";

/// The threads of a process: their names, and a line of their status.
fn threads(pid: u32, line: &str) -> BTreeSet<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| {
            // One that has ended meanwhile has no status any more.
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let of = |key: &str| {
                let value = status.lines().find_map(|found| found.strip_prefix(key)?.strip_prefix(':'));
                value.map(|value| value.trim().to_owned())
            };
            Some((of("Name")?, of(line)?))
        })
        .collect()
}

fn names<'a>(threads: &'a BTreeSet<(String, String)>, value: &str) -> BTreeSet<&'a str> {
    threads.iter().filter(|(_, found)| found == value).map(|(name, _)| name.as_str()).collect()
}

/// A daemon that has been given all the work that there is threads for, and the container that gives it.
fn busy(bed: &Bed) -> (Daemon, Runc, Bundle) {
    let policy = bed.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let directory = bed.path().join("recordings");
    let arguments = ["--policy", policy.to_str().unwrap(), "--recordings", directory.to_str().unwrap()];
    let daemon = Serve::new(bed, &arguments).unwrap().with_metrics().unwrap().start().unwrap();
    let runc = Runc::new(bed).unwrap();
    let bundle = Bundle::new(bed)
        .unwrap()
        .user_namespace(300_000)
        .unwrap()
        .seccomp(profile::notifying(&["mkdir", "getppid"], daemon.socket()))
        .command(&["sh", "-c", SCRIPT]);
    runc.start(&runc.unused_id("sandbox"), &bundle).unwrap();
    let made = || bundle.rootfs().join("d3-made").exists();
    assert!(eventually(Duration::from_secs(20), made), "{}", daemon.log());
    // The policy is read again, and the recording is written, on threads that come and go.
    daemon.signal(Signal::HUP).unwrap();
    assert!(daemon.logs(&["policy read again"]), "{}", daemon.log());
    assert!(eventually(Duration::from_secs(20), || is_recorded(&directory)), "{}", daemon.log());
    (daemon, runc, bundle)
}

fn is_recorded(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| entry.unwrap().file_name() != ".lock")
}

#[test]
fn every_thread_is_confined_and_those_of_the_control_plane_are_twice() {
    let bed = Bed::new().unwrap();
    let (daemon, _runc, _bundle) = busy(&bed);
    assert!(daemon.logs(&["sandboxed", "seccomp=\"on\"", "landlock="]), "{}", daemon.log());
    let (acting, control) = (
        ["seccomp-helper", "seccomp-monitor", "seccomp-worker"].into(),
        ["seccomp-agent", "seccomp-falco", "tokio-rt-worker"].into(),
    );
    let filters = threads(daemon.pid(), "Seccomp_filters");
    let more: BTreeSet<_> =
        filters.iter().filter(|(_, count)| count.parse::<u32>().unwrap() > 2).cloned().collect();
    assert_eq!(names(&filters, "2"), acting, "{filters:?}");
    assert_eq!(more.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), control, "{filters:?}");
    for (line, value) in [("Seccomp", "2"), ("NoNewPrivs", "1")] {
        let all = threads(daemon.pid(), line);
        assert_eq!(names(&all, value), acting.union(&control).copied().collect(), "{line} {all:?}");
    }
}

#[test]
fn a_helper_is_confined_like_the_thread_that_it_acts_for() {
    let bed = Bed::new().unwrap();
    let (daemon, _runc, _bundle) = busy(&bed);
    let helpers = daemon.processes().unwrap();
    assert_eq!(helpers.len(), 1, "{}", daemon.log());
    for (line, value) in [("Seccomp", "2"), ("Seccomp_filters", "2"), ("NoNewPrivs", "1")] {
        let status = threads(helpers[0], line);
        assert_eq!(status.iter().map(|(_, found)| found.as_str()).collect::<Vec<_>>(), [value], "{line}");
    }
}

#[test]
fn an_agent_leaves_no_core_dump() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &[]).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().rev().skip(1).take(2).eq(["1", "1"]), "{core}");
}

#[test]
fn whoever_wants_no_sandbox_has_none() {
    let bed = Bed::new().unwrap();
    let configuration = bed.path().join("configuration.yaml");
    std::fs::write(&configuration, "sandbox: off\n").unwrap();
    for arguments in [["--sandbox", "off"], ["--config", configuration.to_str().unwrap()]] {
        let daemon = Daemon::serve(&bed, &arguments).unwrap();
        assert!(daemon.logs(&["not sandboxed"]), "{}", daemon.log());
        let all = threads(daemon.pid(), "Seccomp_filters");
        assert!(all.iter().all(|(_, count)| count == "0"), "{all:?}");
    }
}

/// A policy may be a link, as a `ConfigMap` is mounted; what is read again is what it leads to by then.
#[test]
fn a_policy_that_is_replaced_behind_a_link_is_read() {
    let bed = Bed::new().unwrap();
    let directory = bed.path().join("policies");
    for version in ["1", "2"] {
        let inside = directory.join(version);
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(
            inside.join("policy.yaml"),
            format!("version: 1\nrules: [{{name: v{version}, match: {{}}}}]\n"),
        )
        .unwrap();
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, directory.join("new")).unwrap();
        std::fs::rename(directory.join("new"), directory.join("..data")).unwrap();
    };
    link("1");
    std::os::unix::fs::symlink("..data/policy.yaml", directory.join("policy.yaml")).unwrap();
    let policy = directory.join("policy.yaml");
    let daemon = Daemon::serve(&bed, &["--policy", policy.to_str().unwrap()]).unwrap();
    link("2");
    assert!(daemon.logs(&["policy read again"]), "{}", daemon.log());
    assert!(!daemon.log().contains("old policy stays"), "{}", daemon.log());
}
