//! The agent, as `deploy/` has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use seccomp_agent_tests::{binaries, eventually, run_for};
use serde_json::Value;

use crate::cluster::{Cluster, DEADLINE, workspace};

/// Its namespace.
pub(crate) const NAMESPACE: &str = "seccomp-agent";

/// Where runtimes find it.
pub(crate) const SOCKET: &str = "/run/seccomp-agent.socket";

/// What the tests' pods may ask for, beside what the deployed policy lets the examples.
const RULES: &str = include_str!("rules.yaml");

/// Deploys it, and waits until it serves.
pub(crate) fn deploy(cluster: &Cluster) {
    import(cluster);
    let base = workspace().join("deploy/kustomize/base");
    let mut objects = cluster.read(&["--kustomize", base.to_str().unwrap()]);
    for object in objects["items"].as_array_mut().unwrap() {
        if object["metadata"]["name"] == "seccomp-agent-policy" {
            let policy = object["data"]["policy.yaml"].as_str().unwrap();
            object["data"]["policy.yaml"] = format!("{policy}{RULES}").into();
        }
    }
    cluster.apply(&objects);
    cluster.kubectl(&[
        "--namespace",
        NAMESPACE,
        "rollout",
        "status",
        "daemonset/seccomp-agent",
        "--timeout=120s",
    ]);
}

/// Runs its command line where it runs, and returns what it says.
#[track_caller]
pub(crate) fn run(cluster: &Cluster, words: &[&str]) -> String {
    let exec = ["--namespace", NAMESPACE, "exec", "daemonset/seccomp-agent", "--container=agent", "--"];
    cluster.kubectl(&[&exec[..], &["/seccomp-agent"], words].concat())
}

/// All that agents of this run have logged, by line.
pub(crate) fn log(cluster: &Cluster) -> Vec<Value> {
    let pods = std::fs::read_dir(cluster.state().join("log/pods")).unwrap();
    let of_agents = pods.map(|pod| pod.unwrap().path()).filter(|pod| {
        pod.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{NAMESPACE}_")))
    });
    let mut lines = Vec::new();
    for pod in of_agents {
        for file in std::fs::read_dir(pod.join("agent")).into_iter().flatten() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            // TIME STREAM F LINE
            let said = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
            lines.extend(said.filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
    }
    lines
}

/// Whether an agent says such a thing, within a while.
pub(crate) fn says(cluster: &Cluster, is_it: impl Fn(&Value) -> bool) -> bool {
    eventually(DEADLINE, || {
        // Reading is work for a machine that has enough to do.
        std::thread::sleep(std::time::Duration::from_millis(100));
        log(cluster).iter().any(&is_it)
    })
}

/// Packs the agent with the libraries that it was linked with, under the name that `deploy/` has.
fn import(cluster: &Cluster) {
    let root = cluster.bed().subdirectory("agent.").unwrap();
    let agent = binaries::agent().unwrap();
    pack(&root, &agent, Path::new("seccomp-agent"));
    for library in libraries(&agent) {
        pack(&root, &library, library.strip_prefix("/").unwrap());
    }
    cluster.import("docker.io/library/seccomp-agent:0.1.0", &root, &["/seccomp-agent"]);
}

/// The shared libraries of a program, and its loader.
pub(crate) fn libraries(program: &Path) -> Vec<PathBuf> {
    let said = run_for(DEADLINE, Command::new("ldd").arg(program)).unwrap();
    // NAME => PATH (ADDRESS), or PATH (ADDRESS)
    let words =
        said.stdout.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(PathBuf::from).collect()
}

/// Copies a file into a root filesystem, without what only a debugger reads.
pub(crate) fn pack(root: &Path, file: &Path, at: &Path) {
    let at = root.join(at);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    let stripped = run_for(DEADLINE, Command::new("strip").arg("-o").arg(&at).arg(file)).unwrap();
    if !stripped.success() {
        std::fs::copy(file, &at).unwrap();
    }
}
