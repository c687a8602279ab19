//! Programs under the profile of three recorded runs: by the launcher, runc and crun, with `no_new_privs` and without,
//! failing and killed for what is not allowed. And under one that lacks a call.

use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Runc, binaries, run_for};
use serde_json::Value;

use crate::program::{Outcome, Program, agent, parsed};

/// How long a compiler may take, and the command line.
const DEADLINE: Duration = Duration::from_secs(60);

const NGINX: &str = include_str!("programs/nginx.py");

const SQLITE: &str = "create table t(a); insert into t values (1), (2); select sum(a) from t; vacuum;";

const BASH: &str = "echo one; echo two | /usr/bin/cat | /usr/bin/grep two; (/usr/bin/sleep 0.01; echo three) & wait; trap 'echo four' USR1; kill -USR1 $$";

/// Its shell may say that it cannot fork while it is recorded (docs/record.md); under a profile it is never interrupted.
const BUSYBOX: &str = "echo one two | busybox cat | busybox tr a-z A-Z; busybox seq 9 | while read x; do echo $x; done | busybox wc -l; x=$(echo three); echo $x; exit 3";

/// write(1, "old\n", 4) and exit(0), by the interrupt that 32-bit programs use.
#[cfg(target_arch = "x86_64")]
const OF_32_BITS: &str = r#"
.globl _start
_start:
    mov $4, %eax
    mov $1, %ebx
    mov $text, %ecx
    mov $4, %edx
    int $0x80
    mov $1, %eax
    xor %ebx, %ebx
    int $0x80
text: .ascii "old\n"
"#;

#[test]
fn nginx_serves_and_is_reloaded_under_its_profile_and_the_recording_says_how() {
    let nginx = Program::python(NGINX, &["serve"]);
    nginx.is_enforced();
    let mut show = agent(&["recordings", "show", "program", "--output", "json"]);
    let shown = run_for(DEADLINE, show.args(["--recordings", &nginx.store()])).unwrap();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    for call in ["accept4", "epoll_wait", "sendfile"] {
        let is_it = |shown: &&Value| shown["call"] == call && shown["caller"]["comm"] == "nginx";
        let seen = shown["calls"].as_array().unwrap().iter().find(is_it);
        let seen = seen.unwrap_or_else(|| panic!("no {call}: {shown}"));
        assert!(seen["count"].as_u64() >= Some(3) && seen["runs"].as_u64() >= Some(3), "{call}: {seen}");
    }
    nginx.needs(&["accept4", "sendfile"]);
}

#[test]
fn nginx_serves_under_a_profile_of_the_arguments_that_were_seen() {
    let nginx = Program::python(NGINX, &["serve"]);
    let expected = nginx.record();
    let profile = parsed(&nginx.profile(&["--args"]));
    let rules = profile["syscalls"].as_array().unwrap();
    for call in ["socket", "setsockopt"] {
        let of_call = rules.iter().filter(|rule| rule["names"].as_array().unwrap().contains(&call.into()));
        let of_call: Vec<_> = of_call.collect();
        let is_narrow = |rule: &&Value| rule["args"].as_array().is_some_and(|args| !args.is_empty());
        assert!(!of_call.is_empty() && of_call.iter().all(is_narrow), "{call}: {of_call:?}");
    }
    nginx.is_enforced_with(&expected, &["--args"]);
}

#[test]
fn redis_answers_saves_and_stops_under_its_profile() {
    let redis = Program::python(include_str!("programs/redis.py"), &[]);
    redis.is_enforced();
    redis.needs(&["epoll_wait"]);
}

#[test]
fn a_database_works_under_its_profile_by_whichever_runtime_it_was_recorded() {
    let words = ["/usr/bin/sqlite3", ":memory:", SQLITE];
    let sqlite = Program::new(&words);
    sqlite.is_enforced();
    sqlite.needs(&["openat", "execve"]);
    for name in ["runc", "crun"] {
        let sqlite = Program::new(&words);
        let expected = sqlite.record_under(name);
        sqlite.is_enforced_with(&expected, &[]);
    }
}

#[test]
fn python_with_threads_and_children_works_under_its_profile() {
    let python = Program::python(include_str!("programs/python.py"), &[]);
    python.is_enforced();
    python.needs(&["clone3"]);
}

#[test]
fn a_shell_with_pipes_and_signals_works_under_its_profile() {
    // Of the shells, the one that asks for interrupted calls to be restarted.
    let bash = Program::new(&["/usr/bin/bash", "--norc", "-c", BASH]);
    bash.is_enforced();
    bash.needs(&["clone", "wait4"]);
}

#[test]
fn a_shell_that_is_not_prepared_for_interruptions_works_under_its_profile_also_when_added_to_a_container() {
    let busybox = binaries::busybox().unwrap();
    let busybox = busybox.to_str().unwrap();
    let words = [busybox, "sh", "-c", BUSYBOX];
    let mut shell = Program::new(&words);
    let expected = shell.record();
    assert_eq!(expected.code, Some(3));
    shell.is_enforced_with(&expected, &[]);

    // What the container itself does meanwhile.
    shell.words = [busybox, "sleep", "0.01"].map(str::to_owned).into();
    shell.record();
    let profiles = ["errno", "kill-process"].map(|action| shell.profile(&["--default-action", action]));
    for runtime in [Runc::new(&shell.bed).unwrap(), Runc::crun(&shell.bed).unwrap()] {
        for profile in &profiles {
            let bundle = || shell.bundle().command(&[busybox, "sleep", "600"]).seccomp(parsed(profile));
            for bundle in [bundle(), bundle().new_privileges()] {
                let id = runtime.unused_id("program-exec");
                runtime.start(&id, &bundle).unwrap();
                let ended = runtime.exec(&id, &words).unwrap();
                assert_eq!(Outcome::of(&ended), expected, "{}: {ended}", profile.display());
                runtime.delete(&id).unwrap();
            }
        }
    }
}

#[test]
fn a_go_program_works_under_its_profile() {
    Program::new(&["/usr/sbin/runc", "features"]).is_enforced();
}

#[test]
fn a_rust_program_works_under_its_profile() {
    let mut rust = Program::new(&[]);
    let program = rust.bed.path().join("probe");
    binaries::copy(&binaries::probe().unwrap(), &program).unwrap();
    rust.words = vec![program.to_str().unwrap().to_owned(), "work".to_owned()];
    rust.is_enforced();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_32_bit_program_works_under_its_profile() {
    let mut old = Program::new(&[]);
    let (source, program) = (old.bed.path().join("old.s"), old.bed.path().join("old"));
    std::fs::write(&source, OF_32_BITS).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-o"]);
    let built = run_for(DEADLINE, compiler.arg(&program).arg(&source)).unwrap();
    assert!(built.success(), "{built}");
    old.words = vec![program.to_str().unwrap().to_owned()];
    old.is_enforced();
}
