//! Pods.

use seccomp_agent_tests::Ended;
use serde_json::{Value, json};

use crate::cluster::{Cluster, soon, workspace};

/// A pod to be, of one container.
#[derive(Clone)]
pub(crate) struct Pod {
    object: Value,
}

impl Pod {
    /// One that has this profile of the kubelet's directory, and sleeps.
    pub(crate) fn new(namespace: &str, name: &str, profile: &str) -> Self {
        let container = json!({
            "name": "main",
            "image": "busybox",
            "command": ["sleep", "infinity"],
            "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": profile}},
        });
        let metadata = json!({"namespace": namespace, "name": name, "labels": {"app": name}});
        let spec = json!({"containers": [container]});
        Self::of(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    }

    /// This one, on a node that pulls no images, and without the time to end that nobody needs.
    pub(crate) fn of(mut object: Value) -> Self {
        object["spec"]["terminationGracePeriodSeconds"] = 1.into();
        for container in object["spec"]["containers"].as_array_mut().unwrap() {
            container["imagePullPolicy"] = "Never".into();
        }
        Self { object }
    }

    /// That of an example of `deploy/`.
    pub(crate) fn example(cluster: &Cluster, name: &str) -> Self {
        let file = workspace().join("deploy/examples").join(name);
        Self::of(cluster.read(&["--filename", file.to_str().unwrap()]))
    }

    /// With a shell's script as its program.
    pub(crate) fn script(mut self, script: &str) -> Self {
        self.object["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
        self
    }

    /// With an annotation.
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Its only container under another name.
    pub(crate) fn container_called(&self, name: &str) -> Value {
        let mut container = self.object["spec"]["containers"][0].clone();
        container["name"] = name.into();
        container
    }

    /// With something in its specification.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.object["spec"][key] = value.into();
        self
    }

    /// Without one of the capabilities that containers have.
    pub(crate) fn without_capability(mut self, name: &str) -> Self {
        self.object["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({"drop": [name]});
        self
    }

    /// What the API server is told.
    pub(crate) fn object(&self) -> &Value {
        &self.object
    }

    pub(crate) fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap()
    }

    /// This one as the API server knows it, where the kubelet was given it in a file.
    pub(crate) fn of_the_node(&self) -> Self {
        let mut pod = self.clone();
        pod.object["metadata"]["name"] = format!("{}-node1", self.name()).into();
        pod
    }

    fn container(&self) -> &str {
        self.object["spec"]["containers"][0]["name"].as_str().unwrap()
    }

    /// Makes it.
    #[track_caller]
    pub(crate) fn start(&self, cluster: &Cluster) {
        cluster.apply(&self.object);
    }

    /// Makes it, and waits until it runs.
    #[track_caller]
    pub(crate) fn run(&self, cluster: &Cluster) {
        self.start(cluster);
        let pod = format!("pod/{}", self.name());
        let wait = [
            "kubectl",
            "--namespace",
            self.namespace(),
            "wait",
            &pod,
            "--for=condition=Ready",
            "--timeout=90s",
        ];
        let ended = cluster.enter(&wait);
        assert!(ended.success(), "{ended}: {}", self.described(cluster));
    }

    /// All that the cluster says of it.
    pub(crate) fn described(&self, cluster: &Cluster) -> String {
        cluster.kubectl(&["--namespace", self.namespace(), "describe", "pod", self.name()])
    }

    /// What the API server knows of its state.
    pub(crate) fn status(&self, cluster: &Cluster) -> Value {
        let get = ["--namespace", self.namespace(), "get", "pod", self.name(), "--output", "json"];
        serde_json::from_str::<Value>(&cluster.kubectl(&get)).unwrap()["status"].take()
    }

    /// The runtime's id of its container.
    pub(crate) fn container_id(&self, cluster: &Cluster) -> String {
        let status = self.status(cluster);
        let said = status["containerStatuses"][0]["containerID"].as_str().unwrap();
        said.trim_start_matches("containerd://").to_owned()
    }

    /// What its container has written, and those before it.
    pub(crate) fn log(&self, cluster: &Cluster) -> String {
        let lines = cluster.written(&format!("{}_{}_", self.namespace(), self.name()), self.container());
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Waits until its container has written such a thing, and returns all that it has written.
    #[track_caller]
    pub(crate) fn writes(&self, cluster: &Cluster, text: &str) -> String {
        let mut log = String::new();
        let written = soon(|| {
            log = self.log(cluster);
            log.contains(text)
        });
        assert!(written, "no {text:?}: {log}{}", self.described(cluster));
        log
    }

    /// Runs a shell's script in it.
    pub(crate) fn exec(&self, cluster: &Cluster, script: &str) -> Ended {
        cluster.enter(&[
            "kubectl",
            "--namespace",
            self.namespace(),
            "exec",
            self.name(),
            "--",
            "sh",
            "-c",
            script,
        ])
    }

    /// Removes it, and waits until it is gone.
    #[track_caller]
    pub(crate) fn remove(&self, cluster: &Cluster) {
        cluster.kubectl(&["--namespace", self.namespace(), "delete", "pod", self.name(), "--timeout=60s"]);
    }
}
