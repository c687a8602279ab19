//! What `deploy/` has, in its three forms.

use std::collections::BTreeMap;

use seccomp_agent_tests::Ended;
use serde_json::{Value, json};

use crate::cluster::{Cluster, in_peace, workspace};

const HEADING: &str = "\
# seccomp-agent on every node: kubectl apply -f seccompagent.yaml
# Made of kustomize/base, which explains each line: change it there.
";

/// The path of something in `deploy/`.
fn deploy(what: &str) -> String {
    workspace().join("deploy").join(what).to_str().unwrap().to_owned()
}

#[test]
fn the_rendered_manifest_is_that_of_the_kustomization() {
    let (_peace, cluster) = in_peace();
    let rendered = HEADING.to_owned() + &cluster.kubectl(&["kustomize", &deploy("kustomize/base")]);
    let file = deploy("seccompagent.yaml");
    if std::env::var_os("UPDATE_MANIFEST").is_some() {
        std::fs::write(&file, &rendered).unwrap();
    }
    let stale = "run this test with UPDATE_MANIFEST=1 to bring deploy/seccompagent.yaml into step";
    assert!(std::fs::read_to_string(file).unwrap() == rendered, "{stale}");
}

/// All objects, by kind and name.
fn objects(cluster: &Cluster, manifests: &str) -> BTreeMap<(String, String), Value> {
    let folder = cluster.bed().subdirectory("manifests.").unwrap();
    let file = folder.join("all.yaml");
    std::fs::write(&file, manifests).unwrap();
    let list = cluster.read(&["--filename", file.to_str().unwrap()]);
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let named = |object: &Value| ((name(&object["kind"]), name(&object["metadata"]["name"])), object.clone());
    list["items"].as_array().unwrap().iter().map(named).collect()
}

fn rendering(cluster: &Cluster, words: &[&str]) -> Ended {
    let chart = deploy("helm/seccomp-agent");
    cluster.enter(&[&["helm", "template", "seccomp-agent", &chart, "--kube-version=1.36.0"], words].concat())
}

fn helm(cluster: &Cluster, words: &[&str]) -> String {
    let ended = rendering(cluster, words);
    assert!(ended.success(), "{ended}");
    ended.stdout
}

#[test]
fn the_chart_deploys_what_the_kustomization_does() {
    let (_peace, cluster) = in_peace();
    let chart = objects(cluster, &helm(cluster, &["--namespace=seccomp-agent"]));
    let mut base = objects(cluster, &cluster.kubectl(&["kustomize", &deploy("kustomize/base")]));
    // Helm makes the namespace.
    assert!(base.remove(&("Namespace".into(), "seccomp-agent".into())).is_some());
    assert_eq!(base.keys().collect::<Vec<_>>(), chart.keys().collect::<Vec<_>>());
    for (named, object) in &base {
        assert_eq!(object, &chart[named], "{named:?}");
    }
}

#[test]
fn the_chart_takes_an_image_a_policy_and_profiles() {
    let (_peace, cluster) = in_peace();
    let rendered = helm(
        cluster,
        &[
            "--namespace=other",
            "--set=image.repository=registry.example/agent,image.tag=2",
            "--set=priorityClass.create=false,priorityClass.name=urgent",
            "--set-string=policy=version: 1",
            r"--set-string=profiles.mine\.json=\{\}",
            "--set=extraArgs[0]=--log-level=debug",
        ],
    );
    let all = objects(cluster, &rendered);
    let at = |kind: &str, name: &str| &all[&(kind.to_owned(), name.to_owned())];
    let pod = &at("DaemonSet", "seccomp-agent")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example/agent:2");
    assert_eq!(pod["initContainers"][0]["image"], "registry.example/agent:2");
    assert_eq!(pod["priorityClassName"], "urgent");
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert_eq!(arguments.last().unwrap(), "--log-level=debug");
    assert_eq!(at("ConfigMap", "seccomp-agent-policy")["data"]["policy.yaml"], "version: 1");
    assert_eq!(at("ConfigMap", "seccomp-agent-profiles")["data"]["mine.json"], "{}");
    assert!(all.values().all(|object| object["kind"] != "PriorityClass"));
    assert!(
        all.values()
            .all(|object| object["metadata"]["namespace"].as_str().is_none_or(|name| name == "other"))
    );
}

#[test]
fn the_chart_takes_files_that_are_written_as_yaml_and_what_looks_like_numbers() {
    let (_peace, cluster) = in_peace();
    let values = json!({
        "image": {"repository": "registry.example:5000/agent", "digest": "sha256:00"},
        "policy": {"version": 1, "rules": []},
        "config": {"on-resolve-failure": "continue"},
        "profiles": {"walk-through.json": {"defaultAction": "SCMP_ACT_ALLOW"}},
        "priorityClass": {"name": "7"},
        "extraVolumes": [{"name": "kvm", "hostPath": {"path": "/dev/kvm"}}],
        "extraVolumeMounts": [{"name": "kvm", "mountPath": "/dev/kvm"}],
    });
    let file = cluster.bed().subdirectory("values.").unwrap().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let all = objects(cluster, &helm(cluster, &["--namespace=123", "--values", file.to_str().unwrap()]));
    let at = |kind: &str, name: &str| &all[&(kind.to_owned(), name.to_owned())];
    let text = |name: &str, key: &str| -> Value {
        serde_json::from_str(at("ConfigMap", name)["data"][key].as_str().unwrap()).unwrap()
    };
    assert_eq!(text("seccomp-agent-policy", "policy.yaml"), values["policy"]);
    assert_eq!(text("seccomp-agent-config", "config.yaml"), values["config"]);
    assert_eq!(text("seccomp-agent-profiles", "walk-through.json"), values["profiles"]["walk-through.json"]);
    let pod = &at("DaemonSet", "seccomp-agent")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example:5000/agent@sha256:00");
    assert_eq!(pod["priorityClassName"], "7");
    let has = |list: &Value, value: &Value| list.as_array().unwrap().contains(value);
    assert!(has(&pod["volumes"], &values["extraVolumes"][0]));
    assert!(has(&pod["containers"][0]["volumeMounts"], &values["extraVolumeMounts"][0]));

    // YAML has read it as 1.2.
    std::fs::write(&file, "image: {tag: 1.20}").unwrap();
    let ended = rendering(cluster, &["--values", file.to_str().unwrap()]);
    assert!(!ended.success() && ended.stderr.contains("put it in quotes"), "{ended}");
}

#[test]
fn metrics_are_scraped_where_the_prometheus_operator_is() {
    let (_peace, cluster) = in_peace();
    let rendered = cluster.kubectl(&["kustomize", &deploy("kustomize/monitoring")]);
    let chart = helm(cluster, &["--namespace=seccomp-agent", "--set=podMonitor.enabled=true"]);
    for manifests in [rendered, chart] {
        // kubectl does not know the kind; the port's name is the DaemonSet's.
        let monitor = manifests.split("---\n").find(|object| object.contains("kind: PodMonitor")).unwrap();
        assert!(
            monitor.contains("port: metrics") && monitor.contains("app.kubernetes.io/name: seccomp-agent"),
            "{monitor}"
        );
    }
}
