//! Where the API server is away, slow to learn of a pod, or mute.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use seccomp_agent_kubefake::{Fault, Server};
use seccomp_agent_tests::eventually;

use serde_json::json;

use super::{Node, POLICY, Pod};

/// A container waits no longer than this for its pod.
const DEADLINE: Duration = Duration::from_secs(2);

/// The watch asks again after some seconds, growing to a minute the longer nobody is there.
const PATIENCE: Duration = Duration::from_secs(100);

#[test]
fn without_an_api_server_a_container_gets_the_fallback_and_with_it_again_what_it_is_to_have() {
    for (fallback, gets) in [("refuse", "Operation not permitted"), ("continue", "made")] {
        let node = Node::new();
        let address = Server::start(&node.cluster, None).address();
        let settings =
            format!("resolve-deadline-seconds: {}\non-resolve-failure: {fallback}\n", DEADLINE.as_secs());
        let mut daemon = node.serve(POLICY, &settings, address, None);
        let gold = Pod::new("gold");
        node.cluster.put(gold.labelled(&[("tier", "gold")]));
        let begin = Instant::now();
        let told = node.made_by(&gold);
        assert!(told.contains(gets) && !told.contains("gold"), "{told}\n{}", daemon.log());
        assert!(begin.elapsed() >= DEADLINE, "{:?}", begin.elapsed());
        let audited =
            ["refused", "name=\"web\"", "pod=\"gold\"", "why=\"the container could not be resolved\""];
        assert_eq!(
            fallback == "refuse",
            daemon.log().lines().any(|line| audited.iter().all(|part| line.contains(part)))
        );
        assert!(daemon.logs(&["WARN", "the API server cannot be asked"]), "{}", daemon.log());

        let _server = Server::start(&node.cluster, Some(address));
        assert!(eventually(PATIENCE, || daemon.log().contains("the API server is back")), "{}", daemon.log());
        assert_eq!(node.made_by(&gold), "made-gold", "{}", daemon.log());
        assert_eq!(daemon.stop().unwrap().code(), Some(0), "{}", daemon.log());
    }
}

#[test]
fn a_container_waits_for_a_pod_that_is_not_known_yet() {
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    // As long as a test may take.
    let daemon = node.serve(POLICY, "resolve-deadline-seconds: 60\n", server.address(), None);
    let gold = Pod::new("gold");
    let made = thread::scope(|scope| {
        let made = scope.spawn(|| node.made_by(&gold));
        thread::sleep(DEADLINE);
        assert!(!made.is_finished(), "{}", daemon.log());
        node.cluster.put(gold.labelled(&[("tier", "gold")]));
        made.join().unwrap()
    });
    assert_eq!(made, "made-gold", "{}", daemon.log());
}

#[test]
fn what_the_runtime_says_takes_no_api_server() {
    const POLICY: &str = "
version: 1
rules:
  - name: for others
    match: {namespace: bank, labels: {tier: gold}}
  - name: by name
    match: {namespace: shop, pod: gold, container: web}
    grant: {directories: {suffix: -gold}}
";
    let node = Node::new();
    node.cluster.fail(Some(Fault::Says(500)));
    let server = Server::start(&node.cluster, None);
    let daemon = node.serve(POLICY, "resolve-deadline-seconds: 60\n", server.address(), None);
    assert_eq!(node.made_by(&Pod::new("gold")), "made-gold", "{}", daemon.log());
    assert_eq!(node.made_by(&Pod::new("other")), "made", "{}", daemon.log());
}

#[test]
fn a_container_that_was_served_by_what_its_runtime_says_is_completed_when_its_pod_is_known() {
    const POLICY: &str =
        "version: 1\nrules: [{name: all, match: {}, grant: {directories: {suffix: -all}}}]\n";
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    let daemon = node.serve(POLICY, "", server.address(), None);
    let pod = Pod::new("gold");
    let bundle =
        node.container(&pod).command(&["sh", "-c", "mkdir /made; while sleep 1; do mkdir /more; done"]);
    let id = node.runc.unused_id("completed");
    node.runc.start(&id, &bundle).unwrap();
    let audited = ["decision=\"granted\"", "name=\"web\"", "namespace=\"shop\"", "pod=\"gold\""];
    assert!(daemon.logs(&audited), "{}", daemon.log());
    assert!(!daemon.log().contains("pod found"), "{}", daemon.log());

    let mut shown = pod.labelled(&[]);
    shown["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "miner", "uid": "u", "controller": true},
    ]);
    node.cluster.put(shown);
    assert!(daemon.logs(&["pod found", &id, "DaemonSet/miner"]), "{}", daemon.log());
    node.runc.delete(&id).unwrap();
}

#[test]
fn an_api_server_that_takes_requests_and_says_nothing_is_reported_and_holds_up_nobody() {
    let node = Node::new();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!("resolve-deadline-seconds: {}\n", DEADLINE.as_secs());
    let mut daemon = node.serve(POLICY, &settings, mute.local_addr().unwrap(), None);
    let _asking = mute.accept().unwrap();
    let told = node.made_by(&Pod::new("gold"));
    assert!(told.contains("Operation not permitted"), "{told}\n{}", daemon.log());
    let reported = || daemon.log().contains("the API server cannot be asked");
    assert!(eventually(PATIENCE, reported), "{}", daemon.log());
    let begin = Instant::now();
    assert_eq!(daemon.stop().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(begin.elapsed() < Duration::from_secs(5));
}
