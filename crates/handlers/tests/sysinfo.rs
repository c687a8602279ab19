//! What a container in a cgroup is told of the machine. Needs root, a C compiler, and a hierarchy of cgroups that
//! limits memory.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;

use seccomp_agent_handlers::Sysinfo;
use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Features, Syscall};
use seccomp_agent_registry::Registry;
use support::program::compile;

const LIMIT: u64 = 64 << 20;

/// A cgroup of this test's own that limits memory: where it is, and which file has the limit.
struct Limited(PathBuf);

impl Limited {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let found = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let point = Path::new(before.split(' ').nth(4)?);
            let limits = point.join("cgroup.subtree_control");
            if after.starts_with("cgroup ") && after.split([' ', ',']).any(|word| word == "memory") {
                return Some((point.to_owned(), "memory.limit_in_bytes"));
            }
            let has_memory = fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default();
            if has_memory.split_whitespace().any(|word| word == "memory")
                && fs::write(limits, "+memory").is_ok()
            {
                return Some((point.to_owned(), "memory.max"));
            }
            None
        });
        assert!(found.is_some(), "no hierarchy of cgroups limits memory here: {mounts}");
        let (point, file) = found.unwrap();
        let path = point.join(format!("seccomp-agent-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(file), LIMIT.to_string()).unwrap();
        Self(path)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Its tasks may still be leaving.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// What the program says that runs where a script has brought it.
fn says(script: String) -> Vec<String> {
    let mut registry = Registry::new();
    registry.on("sysinfo", Sysinfo::of_cgroup()).unwrap();
    let (send, receive) = channel();
    let caller = std::thread::spawn(move || {
        let calls = Arch::native().family().iter().filter_map(|arch| Syscall::named(*arch, "sysinfo"));
        let notifying = filter::notifying(&calls.collect::<Vec<_>>());
        send.send(filter::install(&notifying, Flags::empty()).unwrap()).unwrap();
        Command::new("/bin/sh").args(["-c", &script]).output().unwrap()
    });
    support::serve(receive.recv().unwrap(), &registry, Features::probe());
    let output = caller.join().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_container_is_told_of_its_limit_and_of_what_is_left_of_it() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = compile("sysinfo", folder.path()).display().to_string();
    let cgroup = Limited::new();
    let inside = says(format!("echo $$ > {}/cgroup.procs && exec {program}", cgroup.0.display()));
    let outside = says(format!("exec {program}"));

    let numbers = |line: &str| -> Vec<u64> {
        line.split_once(": ").unwrap().1.split([' ', ',']).map_while(|word| word.parse().ok()).collect()
    };
    let (limited, free) = (numbers(&inside[0]), numbers(&outside[0]));
    assert_eq!(limited[0], LIMIT, "{inside:?}");
    assert!(limited[1] > LIMIT / 2 && limited[1] < LIMIT, "{inside:?}");
    assert!(free[0] > LIMIT, "without a cgroup the kernel answers: {outside:?}");
    // The other lines: a 32-bit call, which writes no more than its structure, and bad pointers.
    for lines in [&inside, &outside] {
        let [.., nothing, null] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!([nothing, null], ["-1 14", "-1 14"], "{lines:?}");
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(numbers(&inside[1])[0], LIMIT, "{inside:?}");
        assert!(inside[1].starts_with("32-bit 0:") && inside[1].ends_with("then ffffffff"), "{inside:?}");
    }
}
