//! Pods of one node that the policy tells apart.

use std::path::{Path, PathBuf};

use seccomp_agent_tests::profile;
use serde_json::json;

use crate::agent;
use crate::cluster::{in_peace, soon};
use crate::pod::Pod;

/// Says what became of each thing that it tries.
const SCRIPT: &str = "
    exec 2>&1
    mkdir /made; ls -d /made*
    mknod /tmp/null c 1 3 && echo null
    mknod /tmp/mem c 1 1
    mount -t proc proc /root
    echo done
    sleep infinity
";

#[test]
fn two_pods_of_a_node_get_what_the_policy_says_of_each_and_no_more() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("policies");
    let notified =
        profile::notifying(&["mkdir", "mkdirat", "mknod", "mknodat", "mount"], Path::new(agent::SOCKET));
    let asking = profile::with_metadata(notified, "MKDIR_TMPL=-{{.Pod}}\nMOUNT_PROC=true");
    cluster.install("policies", &asking);

    // Without the capability, the kernel would make neither.
    let pods = ["devices", "names"].map(|name| {
        Pod::new("policies", name, "tests/policies.json").script(SCRIPT).without_capability("MKNOD")
    });
    for pod in &pods {
        pod.start(cluster);
    }
    let refused = "Operation not permitted";
    let mem = format!("mknod: /tmp/mem: {refused}");
    let mount = "mount: permission denied (are you root?)";
    let expected = [
        format!("/made\nnull\n{mem}\n{mount}\ndone\n"),
        format!("/made-names\nmknod: /tmp/null: {refused}\n{mem}\n{mount}\ndone\n"),
    ];
    for (pod, expected) in pods.iter().zip(expected) {
        assert_eq!(pod.writes(cluster, "done"), expected, "{}", pod.name());
    }

    let container = pods[0].container_id(cluster);
    let of_first = |key: &str, value: &str| {
        agent::says(cluster, |line| line["container"] == container && line[key] == value)
    };
    assert!(of_first("rule", "devices"));
    assert!(of_first("message", "asks for what is not honoured"));
    let record = agent::says(cluster, |line| {
        line["target"] == "audit"
            && line["container"] == container
            && line["path"] == "/tmp/mem"
            && line["decision"] == "refused"
            && line["errno"] == "EPERM"
    });
    assert!(record, "no record of the refusal");
}

#[test]
fn init_and_ephemeral_containers_are_known_by_their_names() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("several");
    let notified = profile::notifying(&["mkdir", "mkdirat"], Path::new(agent::SOCKET));
    cluster.install("several", &profile::with_metadata(notified, "MKDIR_TMPL=-{{.Container}}"));
    let made = |then: &str| {
        Pod::new("several", "several", "tests/several.json")
            .script(&format!("mkdir /made; ls -d /made*; {then}"))
    };
    let pod = made("sleep infinity").with("initContainers", json!([made("true").container_called("first")]));
    pod.run(cluster);
    let ephemeral =
        json!({"spec": {"ephemeralContainers": [made("true").container_called("later")]}}).to_string();
    let patch =
        ["patch", "pod", "several", "--subresource=ephemeralcontainers", "--type=strategic", "--patch"];
    cluster.kubectl(&[&["--namespace", "several"], &patch[..], &[&ephemeral]].concat());
    for container in ["first", "main", "later"] {
        let written = || cluster.written("several_several_", container);
        assert!(soon(|| !written().is_empty()), "{}", pod.described(cluster));
        assert_eq!(written(), [format!("/made-{container}")]);
    }
}

#[test]
fn a_pod_whose_annotation_asks_for_it_is_frozen() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("frozen");
    cluster.install("frozen", &profile::notifying(&["mkdir", "mkdirat"], Path::new(agent::SOCKET)));
    let pod = Pod::new("frozen", "frozen", "tests/frozen.json")
        .script("echo before; mkdir /made 2>&1; echo after; sleep infinity")
        .annotated("seccomp-agent/DEFAULT_ACTION", "freeze-container");
    pod.run(cluster);
    let state = freezer_of(&pod.container_id(cluster));
    let is = |wanted: &str| soon(|| std::fs::read_to_string(&state).unwrap().trim() == wanted);
    assert!(is("FROZEN"), "{state:?}: {}", pod.log(cluster));
    assert_eq!(pod.log(cluster), "before\n");
    std::fs::write(&state, "THAWED").unwrap();
    let refused = "mkdir: can't create directory '/made': Operation not permitted";
    assert_eq!(pod.writes(cluster, "after"), format!("before\n{refused}\nafter\n"));
}

/// What says, and decides, whether a container's tasks run.
fn freezer_of(container: &str) -> PathBuf {
    let all = std::fs::read_dir("/proc").unwrap();
    let cgroups = all.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cgroup")).ok());
    let of_container = |cgroups: String| {
        let line = cgroups.lines().find(|line| line.contains(":freezer:") && line.ends_with(container))?;
        let path = line.splitn(3, ':').last()?.trim_start_matches('/');
        Some(Path::new("/sys/fs/cgroup/freezer").join(path).join("freezer.state"))
    };
    let mut found = cgroups.filter_map(of_container);
    found.next().unwrap()
}
