//! What a cluster does to an agent: its API server goes, pods come in crowds, go in the middle of a call, and the agent
//! itself is started again.

use std::path::Path;
use std::time::{Duration, Instant};

use seccomp_agent_tests::profile;
use serde_json::{Value, json};

use crate::agent::{self, Agent};
use crate::cluster::{Cluster, alone, soon};
use crate::pod::Pod;

/// How long the API server stays away.
const AWAY: Duration = Duration::from_secs(60);

/// How many pods are started at once; some of them have user namespaces of their own.
const CROWD: usize = 45;
const OF_THEIR_OWN: usize = 5;

/// Their profiles: one names what is made after the pod, one holds a program for as long as nobody would wait.
fn install(cluster: &Cluster) {
    let named = "MKDIR_TMPL=-{{.Pod}}";
    let profile = |calls: &[&str], metadata: &str| {
        profile::with_metadata(profile::notifying(calls, Path::new(agent::SOCKET)), metadata)
    };
    cluster.install("named", &profile(&["mkdir", "mkdirat"], named));
    let held = format!("{named}\nEXEC_PATTERN=/bin/true\nEXEC_DURATION=1h");
    cluster.install("held", &profile(&["mkdir", "mkdirat", "execve"], &held));
    cluster.install("kept", &profile(&["mkdir", "mkdirat"], "RECORD=kept"));
}

/// A pod that the policy knows by its labels, so that its containers wait for what the API server says.
fn labelled(namespace: &str, name: &str) -> Pod {
    Pod::new(namespace, name, "tests/named.json")
}

#[test]
fn while_the_api_server_is_away_calls_are_answered_and_known_pods_start_again() {
    let (_alone, cluster) = alone();
    install(cluster);
    cluster.namespace("away");
    let calling =
        "i=0; while :; do i=$((i + 1)); mkdir /tmp/$i; [ -d /tmp/$i-calling ] && echo $i; sleep 1; done";
    let calling = labelled("away", "calling").script(calling);
    let ending = labelled("away", "ending").script("mkdir /tmp/made; ls /tmp; sleep 5");
    calling.run(cluster);
    ending.start(cluster);
    ending.writes(cluster, "made-ending");

    let agent = Agent::of(cluster);
    let answered = || calling.log(cluster).lines().count();
    // The kubelet keeps what the last containers have written, and not of all.
    let is_start = |line: &&Value| line["message"] == "pod found" && line["pod"] == "ending";
    let starts = || agent::log(cluster).iter().filter(is_start).count();
    let before = (answered(), starts());
    let static_pod = labelled("away", "static").script("mkdir /tmp/made 2>&1; sleep infinity");
    let server = cluster.without_api_server();
    let gone = Instant::now();
    // One that only the kubelet knows, while nobody can say what it is.
    let manifest = cluster.state().join("kubelet/static/static.json");
    std::fs::write(&manifest, static_pod.object().to_string()).unwrap();
    static_pod.of_the_node().writes(cluster, "Operation not permitted");
    while gone.elapsed() < AWAY {
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(answered() >= before.0 + 10, "{} calls before, now {}", before.0, answered());
    assert!(starts() > before.1, "it has not started again: {}", ending.log(cluster));
    assert!(ending.log(cluster).lines().all(|line| line == "made-ending"), "{}", ending.log(cluster));
    server.end();

    let new = labelled("away", "new").script("mkdir /tmp/made 2>&1; ls /tmp; sleep infinity");
    new.start(cluster);
    assert_eq!(new.writes(cluster, "\n"), "made-new\n");
    // Each exec is asked about anew.
    let made = static_pod.of_the_node().exec(cluster, "mkdir /tmp/again; ls /tmp");
    assert_eq!(made.stdout, "again-static-node1\n", "{made}");
    assert_eq!(Agent::of(cluster).pid(), agent.pid(), "it was started again");
    std::fs::remove_file(manifest).unwrap();
    cluster.remove_namespace("away");
}

/// A Deployment of pods, each of which makes a directory.
fn crowd(name: &str, replicas: usize, pod: &Pod) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "crowd", "name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod.object()["spec"]},
        },
    })
}

#[test]
fn a_crowd_of_pods_gets_its_answers_and_leaves_nothing_behind() {
    let (_alone, cluster) = alone();
    install(cluster);
    cluster.namespace("crowd");
    // What is made once.
    for users in [true, false] {
        let first = labelled("crowd", "first")
            .script("mkdir /tmp/made; echo done; sleep infinity")
            .with("hostUsers", users);
        first.run(cluster);
        first.writes(cluster, "done");
        first.remove(cluster);
    }
    let agent = Agent::of(cluster);
    let before = agent.settled();

    // The network of each would take longer than the rest.
    let script = "mkdir /tmp/made; ls /tmp; sleep infinity";
    let shared = labelled("crowd", "crowd").script(script).with("hostNetwork", true);
    let mapped = labelled("crowd", "mapped").script(script).with("hostUsers", false);
    cluster.apply(&crowd("crowd", CROWD, &shared));
    cluster.apply(&crowd("mapped", OF_THEIR_OWN, &mapped));
    let all_made = || {
        let lines = cluster.written("crowd_", "main");
        lines.len() == CROWD + OF_THEIR_OWN && lines.iter().all(|line| line.starts_with("made-"))
    };
    assert!(soon(all_made), "{:?}", cluster.written("crowd_", "main"));
    assert_eq!(agent.holds().listeners, before.listeners + CROWD + OF_THEIR_OWN);

    // One that goes while its call is held.
    let calling = Pod::new("crowd", "calling", "tests/held.json")
        .script("echo calls; /bin/true; echo answered; sleep infinity");
    calling.run(cluster);
    calling.writes(cluster, "calls");
    let container = calling.container_id(cluster);
    let held = |line: &Value| line["container"] == container && line["decision"] == "delayed";
    assert!(agent::says(cluster, held), "it is not held");
    let asked = Instant::now();
    calling.remove(cluster);
    assert!(asked.elapsed() < Duration::from_secs(30), "it took {:?} to go", asked.elapsed());

    cluster.remove_namespace("crowd");
    let mut after = agent.settled();
    let is_as_before = soon(|| {
        after = agent.settled();
        after.is_within(&before)
    });
    assert!(is_as_before, "before {before:?}, after {after:?}");
}

#[test]
fn an_agent_that_is_started_again_serves_new_pods_and_keeps_recordings() {
    let (_alone, cluster) = alone();
    install(cluster);
    cluster.namespace("again");
    let recorded = |name: &str| {
        let pod = Pod::new("again", name, "tests/kept.json");
        pod.script("mkdir /tmp/made; echo done; sleep infinity").run(cluster);
    };
    // How often mkdir was recorded, and in how many runs.
    let known = || {
        let shown = agent::exec(cluster, &["recordings", "show", "kept", "--output", "json"]);
        // Nothing, before anything is.
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
        let call = &shown["calls"][0];
        (call["count"].as_u64(), call["runs"].as_u64())
    };
    recorded("first");
    assert!(soon(|| known() == (Some(1), Some(1))), "{:?}", known());

    // Killed, as by the kernel when memory runs out; then replaced, as by an upgrade.
    let agent = Agent::of(cluster);
    agent.kill();
    assert!(
        soon(|| Agent::find(cluster).is_some_and(|new| new.pid() != agent.pid())),
        "nobody starts it again"
    );
    recorded("second");
    assert!(soon(|| known() == (Some(2), Some(2))), "{:?}", known());

    agent::restart(cluster);
    recorded("third");
    assert!(soon(|| known() == (Some(3), Some(3))), "{:?}", known());
    let new = labelled("again", "new").script("mkdir /tmp/made 2>&1; ls /tmp; sleep infinity");
    new.start(cluster);
    assert_eq!(new.writes(cluster, "\n"), "made-new\n");
    cluster.remove_namespace("again");
}
