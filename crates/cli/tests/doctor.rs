//! `seccomp-agent doctor`, as a program.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

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
        ("containerd", "wrong", "the kubelet's is systemd"),
        ("kubelet", "wrong", "/var/lib/kubelet/seccomp is not there"),
    ] {
        assert!(has(&found, check, state, words), "{check} {words}: {found:#?}");
    }
    assert_eq!(status, Some(1));

    std::fs::create_dir(kubelet.join("seccomp")).unwrap();
    let (found, _) = examined(Command::new(AGENT), root.path());
    assert!(has(&found, "kubelet", "ok", "0 profiles"), "{found:#?}");
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
