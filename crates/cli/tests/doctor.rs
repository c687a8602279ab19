//! `seccomp-agent doctor`, as a program.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

const AGENT: &str = env!("CARGO_BIN_EXE_seccomp-agent");

/// What it finds on a machine whose files are below `root`, and its exit status.
fn examined(mut agent: Command, root: &Path) -> (Vec<Value>, Option<i32>) {
    agent.args(["doctor", "--output", "json", "--socket", "/nowhere/socket", "--root"]).arg(root);
    let output = agent.output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

fn has(findings: &[Value], check: &str, state: &str, words: &str) -> bool {
    findings.iter().any(|finding| {
        let says = finding["found"].as_str().unwrap().contains(words);
        let is_mended = finding["mend"].is_string() || state == "ok";
        finding["check"] == check && finding["state"] == state && says && is_mended
    })
}

#[test]
fn what_is_wrong_on_a_machine_is_found_and_mended() {
    let root = tempfile::tempdir().unwrap();
    let kubelet = root.path().join("var/lib/kubelet");
    std::fs::create_dir_all(&kubelet).unwrap();
    std::fs::create_dir_all(root.path().join("etc/containerd")).unwrap();
    std::fs::write(kubelet.join("config.yaml"), "cgroupDriver: systemd\n").unwrap();
    let runtime = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n";
    std::fs::write(root.path().join("etc/containerd/config.toml"), runtime).unwrap();
    let (found, status) = examined(Command::new(AGENT), root.path());
    for (check, state, words) in [
        ("kernel", "ok", "Linux "),
        ("socket", "wrong", "/nowhere/socket"),
        ("containerd", "note", "not all annotations are passed on"),
        ("containerd", "note", "the kubelet's configuration says systemd"),
        ("kubelet", "wrong", "/var/lib/kubelet/seccomp is not there"),
    ] {
        assert!(has(&found, check, state, words), "{check} {words}: {found:#?}");
    }
    assert_eq!(status, Some(1));

    std::fs::create_dir(kubelet.join("seccomp")).unwrap();
    let (found, _) = examined(Command::new(AGENT), root.path());
    assert!(has(&found, "kubelet", "ok", "0 profiles"), "{found:#?}");
}

/// Makes files. Not by this process: what it has open for writing while another test forks cannot be executed.
fn shell(script: &str, words: &[&str]) {
    assert!(Command::new("sh").args(["-ec", script, "sh"]).args(words).status().unwrap().success());
}

/// A shell and what it takes, below `root`.
fn with_shell(root: &Path) {
    let script = "mkdir -p $1/bin; cp $(command -v busybox) $1/bin/busybox; ln -s busybox $1/bin/sh";
    shell(script, &[root.to_str().unwrap()]);
}

/// A program that says something.
fn saying(path: &Path, text: &str) {
    let script = r##"mkdir -p ${1%/*}; printf "#!/bin/sh\necho '%s'\n" "$2" > $1; chmod 755 $1"##;
    shell(script, &[path.to_str().unwrap(), text]);
}

#[test]
fn the_runtimes_of_another_machine_are_asked_for_their_versions_there() {
    let root = tempfile::tempdir().unwrap();
    with_shell(root.path());
    saying(&root.path().join("usr/local/sbin/runc"), "runc version 1.0.3");
    saying(&root.path().join("opt/own/runc"), "runc version 7.8.9\nlibseccomp: 2.6.1");
    saying(&root.path().join("usr/bin/containerd"), "containerd example 5.6.7");
    std::fs::create_dir_all(root.path().join("etc/containerd")).unwrap();
    let table = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.own]\n";
    let configuration = format!("{table}options.BinaryName = '/opt/own/runc'\n");
    std::fs::write(root.path().join("etc/containerd/config.toml"), configuration).unwrap();
    let (found, _) = examined(Command::new(AGENT), root.path());
    let expected = if rustix::process::geteuid().is_root() {
        &[
            ("wrong", "runc version 1.0.3: it hands no listeners over"),
            ("ok", "/opt/own/runc: runc version 7.8.9, with libseccomp 2.6.1"),
            ("ok", "containerd example 5.6.7"),
        ][..]
    } else {
        &[("note", "nothing can be executed in ")]
    };
    for (state, words) in expected {
        assert!(has(&found, "runtimes", state, words), "{words}: {found:#?}");
    }
    let all = found.iter().filter(|finding| finding["check"] == "runtimes").count();
    assert_eq!(all, expected.len(), "{found:#?}");
}

#[test]
fn without_runtimes_what_starts_them_is_shown() {
    let programs = tempfile::tempdir().unwrap();
    saying(&programs.path().join("podman"), "podman version 4.5.6");
    let mut agent = Command::new(AGENT);
    agent.env("PATH", programs.path());
    let (found, _) = examined(agent, Path::new("/"));
    assert!(has(&found, "runtimes", "note", "neither runc nor crun"), "{found:#?}");
    assert!(has(&found, "runtimes", "ok", "podman version 4.5.6"), "{found:#?}");
}

#[test]
fn a_runtime_that_does_not_answer_is_named_and_not_waited_for() {
    let programs = tempfile::tempdir().unwrap();
    let script = r"printf '#!/bin/sh\nexec /bin/sleep 600\n' > $1/runc; chmod 755 $1/runc";
    shell(script, &[programs.path().to_str().unwrap()]);
    let mut agent = Command::new(AGENT);
    agent.env("PATH", programs.path());
    let begin = Instant::now();
    let (found, status) = examined(agent, Path::new("/"));
    assert!(has(&found, "runtimes", "wrong", "runc --version has not ended"), "{found:#?}");
    assert_eq!(status, Some(1));
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn somebody_who_may_nothing_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = Command::new("setpriv");
    // Without any capability, whoever runs the tests.
    if rustix::process::geteuid().is_root() {
        agent.arg("--bounding-set=-all");
    }
    agent.args(["--inh-caps=-all", AGENT]);
    let (found, status) = examined(agent, root.path());
    assert!(has(&found, "permissions", "wrong", "CAP_"), "{found:#?}");
    assert_eq!(status, Some(1));
}
