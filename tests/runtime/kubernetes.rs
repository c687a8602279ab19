//! `serve --resolver kubernetes`: real containers, that a runtime has annotated and put into cgroups as the kubelet has
//! it, and an API server that fails on demand.

mod away;
mod told;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use seccomp_agent_kubefake::{Authority, Cluster, NODE, Server, kubeconfig, pod};
use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, Serve, profile};
use serde_json::{Value, json};

/// What only the cluster knows decides.
const POLICY: &str = "
version: 1
rules:
  - name: gold
    match: {namespace: shop, labels: {tier: gold}}
    grant: {directories: {suffix: -gold}}
";

/// A node with an agent, and what it asks.
struct Node {
    runc: Runc,
    cluster: Cluster,
    // What is in it goes last.
    bed: Bed,
}

/// A pod as the cluster knows it.
struct Pod {
    name: &'static str,
    uid: String,
}

impl Node {
    fn new() -> Self {
        let bed = Bed::new().unwrap();
        let runc = Runc::new(&bed).unwrap();
        Self { bed, runc, cluster: Cluster::new() }
    }

    /// An agent that asks the server at this address, which has to show a certificate of this authority.
    fn serve(&self, policy: &str, more: &str, address: SocketAddr, authority: Option<&Authority>) -> Daemon {
        let file = |name: &str, text: &str| -> PathBuf {
            let path = self.bed.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority = authority.map(|authority| file("authority.pem", &authority.pem()));
        let config = file("kubeconfig", &kubeconfig(address, authority.as_deref()));
        let (policy, more) = (file("policy.yaml", policy), file("configuration.yaml", more));
        let arguments = ["--resolver", "kubernetes", "--node-name", NODE];
        let files = ["--policy", policy.to_str().unwrap(), "--config", more.to_str().unwrap()];
        let serve = Serve::new(&self.bed, &[&arguments[..], &files[..]].concat()).unwrap();
        serve.env("KUBECONFIG", config.to_str().unwrap()).start().unwrap()
    }

    /// A container of the pod, which makes the directory `/made`.
    fn container(&self, pod: &Pod) -> Bundle {
        let annotations =
            [("sandbox-namespace", "shop"), ("sandbox-name", pod.name), ("container-name", "web")];
        let bundle = Bundle::new(&self.bed)
            .unwrap()
            .seccomp(profile::notifying(&["mkdir"], &self.bed.socket()))
            .cgroup(&format!("/kubepods/besteffort/pod{}/{}", pod.uid, self.runc.unused_id("container")))
            .command(&["mkdir", "/made"]);
        annotations.into_iter().fold(bundle, |bundle, (key, value)| {
            bundle.annotation(&format!("io.kubernetes.cri.{key}"), value)
        })
    }

    /// What a container of the pod has made of `/made`, or else what it was told.
    fn made_by(&self, pod: &Pod) -> String {
        let bundle = self.container(pod);
        let ended = self.runc.run(&self.runc.unused_id(pod.name), &bundle).unwrap();
        let made = ["made", "made-gold"].into_iter().find(|name| bundle.rootfs().join(name).exists());
        made.map_or_else(|| ended.to_string(), str::to_owned)
    }
}

impl Pod {
    /// One whose cgroup no other test has.
    fn new(name: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name, uid: format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id()) }
    }

    /// With these labels, as the API server shows it.
    fn labelled(&self, labels: &[(&str, &str)]) -> Value {
        let mut shown = pod(self.name, &self.uid, NODE);
        for (key, value) in labels {
            shown["metadata"]["labels"][*key] = (*value).into();
        }
        shown
    }
}

#[test]
fn the_labels_of_a_pod_decide_what_its_containers_get() {
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    let daemon = node.serve(POLICY, "", server.address(), None);
    let (gold, plain) = (Pod::new("gold"), Pod::new("plain"));
    node.cluster.put(gold.labelled(&[("tier", "gold")]));
    node.cluster.put(plain.labelled(&[]));
    assert_eq!(node.made_by(&gold), "made-gold", "{}", daemon.log());
    assert_eq!(node.made_by(&plain), "made", "{}", daemon.log());
    // Another pod's name does not help: the cgroup tells.
    let thief = Pod { name: "gold", uid: plain.uid };
    assert_eq!(node.made_by(&thief), "made", "{}", daemon.log());
    // New containers get what the pod is by then.
    node.cluster.put(gold.labelled(&[("tier", "silver")]));
    let silver = || node.made_by(&gold) == "made";
    assert!(seccomp_agent_tests::eventually(std::time::Duration::from_secs(20), silver), "{}", daemon.log());
}

#[test]
fn whatever_else_the_cluster_says_of_a_pod_decides_too() {
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    let pods = ["plain", "account", "owner", "image", "digest", "asks"].map(Pod::new);
    for pod in &pods {
        let mut shown = pod.labelled(&[]);
        let controller =
            json!([{"apiVersion": "v1", "kind": "Job", "name": "night", "uid": "u", "controller": true}]);
        let ran = |image_id: &str| json!([{"name": "web", "image": "x", "imageID": image_id, "ready": true, "restartCount": 0}]);
        match pod.name {
            "account" => shown["spec"]["serviceAccountName"] = "builder".into(),
            "owner" => shown["metadata"]["ownerReferences"] = controller,
            "image" => shown["spec"]["containers"][0]["image"] = "registry.example/tool:1".into(),
            "digest" => shown["status"]["containerStatuses"] = ran("registry.example/other@sha256:00aa"),
            "asks" => shown["metadata"]["annotations"] = json!({"seccomp-agent/MKDIR_TMPL": "-gold"}),
            _ => {}
        }
        node.cluster.put(shown);
    }
    for (rule, served) in [
        ("{name: r, match: {service-account: build*}, grant: {directories: {suffix: -gold}}}", "account"),
        ("{name: r, match: {owner: Job/night}, grant: {directories: {suffix: -gold}}}", "owner"),
        (
            "{name: r, match: {image: 'registry.example/tool:*'}, grant: {directories: {suffix: -gold}}}",
            "image",
        ),
        ("{name: r, match: {image: '*@sha256:00aa'}, grant: {directories: {suffix: -gold}}}", "digest"),
        ("{name: r, match: {namespace: shop}, honour: {annotations: [seccomp-agent/MKDIR_TMPL]}}", "asks"),
    ] {
        let policy = format!("version: 1\nrules: [{rule}]\n");
        let daemon = node.serve(&policy, "", server.address(), None);
        for pod in &pods {
            let expected = if pod.name == served { "made-gold" } else { "made" };
            assert_eq!(node.made_by(pod), expected, "{}: {rule}\n{}", pod.name, daemon.log());
        }
    }
}

#[test]
fn what_is_no_sidecar_starts_late() {
    const POLICY: &str = "
version: 1
rules: [{name: r, match: {namespace: shop}, honour: {metadata: [SIDECARS, SIDECARS_DELAY]}}]
";
    let node = Node::new();
    let server = Server::start(&node.cluster, None);
    let daemon = node.serve(POLICY, "", server.address(), None);
    let pod = Pod::new("meshed");
    let seconds = |sidecars: &str| {
        let profile = profile::notifying(&["execve"], &node.bed.socket());
        let profile = profile::with_metadata(profile, &format!("SIDECARS={sidecars}\nSIDECARS_DELAY=2s"));
        let begin = Instant::now();
        let ended =
            node.runc.run(&node.runc.unused_id("meshed"), &node.container(&pod).seccomp(profile)).unwrap();
        assert!(ended.success(), "{ended}: {}", daemon.log());
        begin.elapsed().as_secs_f64()
    };
    // The container is called `web`.
    let (sidecar, late) = (seconds("proxy,web"), seconds("proxy"));
    assert!(late >= 2.0 && sidecar < late - 1.0, "{sidecar} {late}: {}", daemon.log());
}

#[test]
fn the_api_server_is_asked_over_tls_if_it_is_the_one_to_trust() {
    let node = Node::new();
    let authority = Authority::new();
    let server = Server::start_secured(&node.cluster, None, &authority);
    let gold = Pod::new("gold");
    node.cluster.put(gold.labelled(&[("tier", "gold")]));
    let daemon = node.serve(POLICY, "", server.address(), Some(&authority));
    assert_eq!(node.made_by(&gold), "made-gold", "{}", daemon.log());
    drop(daemon);
    let daemon =
        node.serve(POLICY, "resolve-deadline-seconds: 1\n", server.address(), Some(&Authority::new()));
    assert!(daemon.logs(&["WARN", "the API server cannot be asked"]), "{}", daemon.log());
    let told = node.made_by(&gold);
    assert!(told.contains("Operation not permitted"), "{told}\n{}", daemon.log());
}
