//! Pods of one node that the policy tells apart.

use std::path::Path;

use seccomp_agent_tests::profile;

use crate::agent;
use crate::cluster::in_peace;
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
