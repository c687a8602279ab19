//! A workload that is recorded, and whose next version runs under the profile of that.

use seccomp_agent_tests::eventually;
use serde_json::{Value, json};

use crate::agent;
use crate::cluster::{Cluster, DEADLINE, in_peace};
use crate::pod::Pod;

/// What the workload does: its version is what it ends with.
const SCRIPT: &str = "
    mkdir /tmp/folder && echo hello > /tmp/folder/file && cat /tmp/folder/file
    mkfifo /tmp/fifo 2>&1
    echo done
    sleep infinity
";

/// Its recording, as the agent names it by the owner.
const RECORDING: &str = "recorded_web_main";

/// The workload of a version, with this profile and program.
fn deployment(profile: &str, script: &str) -> Value {
    let pod = Pod::new("recorded", "web", profile).script(script);
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "recorded", "name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod.object()["spec"]},
        },
    })
}

/// Starts a version, and returns what it has written once it is done.
fn version(cluster: &Cluster, profile: &str, script: &str) -> String {
    cluster.apply(&deployment(profile, script));
    let workload = ["--namespace", "recorded"];
    let rollout = ["rollout", "status", "deployment/web", "--timeout=90s"];
    cluster.kubectl(&[&workload[..], &rollout].concat());
    let mut log = String::new();
    let done = eventually(DEADLINE, || {
        // Of the newest pod.
        let newest = ["get", "pods", "--sort-by=.metadata.creationTimestamp", "--output=name"];
        let pods = cluster.kubectl(&[&workload[..], &newest].concat());
        log = cluster
            .enter(&[&["kubectl"], &workload[..], &["logs", pods.lines().last().unwrap()]].concat())
            .stdout;
        log.contains("done")
    });
    assert!(done, "{log}");
    log
}

#[test]
fn a_pod_is_recorded_and_its_next_version_may_do_that_and_no_more() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("recorded");
    let directory = "/var/lib/kubelet/seccomp";
    let first = format!("recording/{RECORDING}.json");
    let made =
        ["profile", "new", "--record", RECORDING, "--for", "runc", "--libseccomp", "2.5.4", "--output"];
    agent::run(cluster, &[&made[..], &[&format!("{directory}/{first}")]].concat());

    let without_a_fifo: String =
        SCRIPT.lines().filter(|line| !line.contains("mkfifo")).map(|line| format!("{line}\n")).collect();
    assert_eq!(version(cluster, &first, &without_a_fifo), "hello\ndone\n");
    let is_known = || {
        let shown = agent::run(cluster, &["recordings", "show", RECORDING, "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let calls = shown["calls"].as_array().unwrap();
        calls.iter().any(|call| call["call"] == "mkdir" && call["count"].as_u64() >= Some(1))
    };
    assert!(eventually(DEADLINE, is_known));
    let make = ["recordings", "profile", RECORDING, "--base", "minimal", "--output"];
    agent::run(cluster, &[&make[..], &[&format!("{directory}/tests/web.json")]].concat());

    let said = version(cluster, "tests/web.json", SCRIPT);
    assert_eq!(said, "hello\nmkfifo: /tmp/fifo: Operation not permitted\ndone\n");
}
