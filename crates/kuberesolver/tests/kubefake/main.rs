//! Following an API server that fails: what is known stays known, and what has changed meanwhile is known in the end.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Config;
use seccomp_agent_kubefake::{Cluster, Fault, NODE, Server, pod};
use seccomp_agent_kuberesolver::{Identity, MAX_SILENCE, Pods, client, watch};
use tokio::time::{sleep, timeout};

/// How long anything may take on a busy machine. The watch asks again after a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pods that are followed at this address, for as long as the test runs.
fn follow(address: SocketAddr) -> Pods {
    follow_node(address, NODE)
}

fn follow_node(address: SocketAddr, node: &'static str) -> Pods {
    let pods = Pods::default();
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let client = client(config).unwrap();
    let followed = pods.clone();
    tokio::spawn(async move { watch(client, node, followed).await });
    pods
}

fn identity(name: &str, uid: Option<&str>) -> Identity {
    let mut identity = Identity::default();
    identity.namespace = Some("shop".to_owned());
    identity.pod = Some(name.to_owned());
    identity.pod_uid = uid.map(str::to_owned);
    identity
}

fn knows(pods: &Pods, name: &str) -> bool {
    pods.find(&identity(name, None)).is_some()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never comes to this: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_pods_of_this_node_are_known_as_they_come_change_and_go() {
    let cluster = Cluster::new();
    cluster.put(pod("first", "1", NODE));
    cluster.put(pod("elsewhere", "2", "worker-2"));
    let server = Server::start(&cluster, None);
    let pods = follow(server.address());
    until("first is known", || knows(&pods, "first")).await;
    cluster.put(pod("second", "3", NODE));
    cluster.put(pod("elsewhere-too", "4", "worker-2"));
    let mut labelled = pod("first", "1", NODE);
    labelled["metadata"]["labels"]["tier"] = "gold".into();
    cluster.put(labelled);
    let label = || pods.find(&identity("first", Some("1"))).unwrap().labels.get("tier").cloned();
    until("the label is known", || label().as_deref() == Some("gold")).await;
    assert!(knows(&pods, "second") && pods.len() == 2);
    cluster.remove("second");
    until("second is gone", || !knows(&pods, "second")).await;
    // One of the same name is another pod.
    cluster.remove("first");
    cluster.put(pod("first", "5", NODE));
    until("the new one is known", || pods.find(&identity("first", Some("5"))).is_some()).await;
    assert!(pods.find(&identity("first", Some("1"))).is_none());
    assert_eq!((pods.len(), cluster.lists()), (1, 1));
}

#[tokio::test]
async fn an_api_server_that_is_away_is_waited_for() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    let address = Server::start(&cluster, None).address();
    let pods = follow(address);
    let web = identity("web", Some("1"));
    assert!(timeout(Duration::from_millis(300), pods.wait_for(&web)).await.is_err());
    let _server = Server::start(&cluster, Some(address));
    assert_eq!(timeout(PATIENCE, pods.wait_for(&web)).await.unwrap().name, "web");
}

#[tokio::test]
async fn who_waits_for_a_slow_api_server_can_give_up_and_the_pod_is_known_in_the_end() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    cluster.fail(Some(Fault::Slow(Duration::from_secs(2))));
    let server = Server::start(&cluster, None);
    let pods = follow(server.address());
    let web = identity("web", Some("1"));
    until("it is asked", || cluster.lists() == 1).await;
    assert!(timeout(Duration::from_millis(100), pods.wait_for(&web)).await.is_err());
    assert_eq!(timeout(PATIENCE, pods.wait_for(&web)).await.unwrap().name, "web");
}

#[tokio::test]
async fn an_api_server_that_takes_requests_and_says_nothing_is_taken_for_away() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap();
    let pods = follow(address);
    let _connection = timeout(PATIENCE, mute.accept()).await.unwrap().unwrap();
    drop(mute);
    let _server = Server::start(&cluster, Some(address));
    let web = identity("web", Some("1"));
    assert_eq!(timeout(MAX_SILENCE + PATIENCE, pods.wait_for(&web)).await.unwrap().name, "web");
}

/// The connection stays, as where a firewall has forgotten it.
#[tokio::test]
async fn a_watch_that_says_nothing_any_more_is_given_up() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    let server = Server::start(&cluster, None);
    let pods = follow(server.address());
    until("web is known", || knows(&pods, "web")).await;
    cluster.hush();
    cluster.put(pod("later", "2", NODE));
    let later = identity("later", Some("2"));
    assert_eq!(timeout(MAX_SILENCE + PATIENCE, pods.wait_for(&later)).await.unwrap().name, "later");
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    let server = Server::start(&cluster, None);
    let pods = follow(server.address());
    until("web is known", || knows(&pods, "web")).await;
    for round in 0..3 {
        cluster.cut();
        let name = format!("new-{round}");
        cluster.put(pod(&name, &format!("new {round}"), NODE));
        until(&name, || knows(&pods, &name)).await;
    }
    assert_eq!((pods.len(), cluster.lists()), (4, 1));
}

#[tokio::test]
async fn what_was_missed_for_good_is_made_up_by_a_new_list() {
    let cluster = Cluster::new();
    cluster.put(pod("stays", "1", NODE));
    cluster.put(pod("goes", "2", NODE));
    let mut server = Server::start(&cluster, None);
    let address = server.address();
    let pods = follow(address);
    until("both are known", || pods.len() == 2).await;
    drop(server);
    cluster.remove("goes");
    cluster.put(pod("comes", "3", NODE));
    cluster.forget();
    assert!(knows(&pods, "stays") && knows(&pods, "goes"), "what is known stays known meanwhile");
    server = Server::start(&cluster, Some(address));
    until("comes is known", || knows(&pods, "comes")).await;
    until("goes is gone", || !knows(&pods, "goes")).await;
    assert!(knows(&pods, "stays"));
    assert!(cluster.lists() > 1, "410 Gone");
    // And the watch that follows works.
    cluster.put(pod("later", "4", NODE));
    until("later is known", || knows(&pods, "later")).await;
    drop(server);
}

#[tokio::test]
async fn what_is_no_event_does_no_harm() {
    let cluster = Cluster::new();
    cluster.put(pod("web", "1", NODE));
    let server = Server::start(&cluster, None);
    let pods = follow(server.address());
    until("web is known", || knows(&pods, "web")).await;
    cluster.babble();
    cluster.cut();
    cluster.put(pod("later", "2", NODE));
    cluster.forget();
    until("later is known", || knows(&pods, "later")).await;
    assert!(knows(&pods, "web"));
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// How many lines are about this node and have this text.
    fn count(&self, node: &str, text: &str) -> usize {
        let log = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        log.lines().filter(|line| line.contains(node) && line.contains(text)).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_api_server_that_says_no_is_told_of_once_and_so_is_its_return() {
    const OWN: &str = "worker-of-this-test";
    let log = Log::default();
    let writer = log.clone();
    // Of all tests in this process: of one thread only, it might see nothing of what others have run through before.
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let cluster = Cluster::of(OWN);
    cluster.put(pod("web", "1", OWN));
    cluster.fail(Some(Fault::Says(403)));
    let server = Server::start(&cluster, None);
    let pods = follow_node(server.address(), OWN);
    until("it has asked again", || cluster.lists() >= 3).await;
    let told = || (log.count(OWN, "cannot be asked for pods"), log.count(OWN, "is back"));
    assert_eq!(told(), (1, 0));
    cluster.fail(None);
    until("web is known", || knows(&pods, "web")).await;
    assert_eq!(told(), (1, 1));
}
