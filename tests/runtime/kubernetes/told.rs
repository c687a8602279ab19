//! Falco, told of calls by `serve`.

use std::time::Duration;

use seccomp_agent_falcofake::listen;
use seccomp_agent_kubefake::Server;
use seccomp_agent_tests::Ended;

use super::{Node, Pod};

const POLICY: &str = "
version: 1
rules:
  - name: watched
    match: {labels: {watched: 'yes'}}
    grant: {falco: true, directories: {suffix: -gold}}
";

#[test]
fn falco_is_told_of_the_calls_of_the_pods_that_the_policy_says_it_of() {
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    let socket = node.bed.path().join("falco.socket");
    let daemon = node.serve(POLICY, &format!("falco-socket: {}\n", socket.display()), server.address(), None);
    let (watched, other) = (Pod::new("watched"), Pod::new("other"));
    node.cluster.put(watched.labelled(&[("watched", "yes")]));
    node.cluster.put(other.labelled(&[]));

    // Nobody waits for a Falco that is away.
    assert_eq!(node.made_by(&watched), "made-gold", "{}", daemon.log());
    assert!(daemon.logs(&["Falco does not take events"]), "{}", daemon.log());

    let events = listen(&socket);
    assert!(seccomp_agent_tests::eventually(Duration::from_secs(10), || socket.exists()));
    assert_eq!(node.made_by(&other), "made", "{}", daemon.log());
    let bundle = node.container(&watched);
    let ended: Ended = node.runc.run(&node.runc.unused_id("watched"), &bundle).unwrap();
    assert!(ended.success(), "{ended}");
    let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
    let origin = event.k8s.unwrap();
    let said = [&event.syscall, &origin.namespace, &origin.pod, &origin.container];
    assert_eq!(said, ["mkdir", "shop", "watched", "web"], "{}", daemon.log());
    assert!(origin.pid > 0 && event.pid > 0 && event.id > 0);
    assert!(daemon.logs(&["Falco is back"]), "{}", daemon.log());
}
