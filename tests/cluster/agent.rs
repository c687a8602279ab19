//! The agent, as `deploy/` has it.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use seccomp_agent_tests::{Ended, Usage, binaries, children};
use serde_json::Value;

use crate::cluster::{Cluster, soon, workspace};

/// Its namespace.
pub(crate) const NAMESPACE: &str = "seccomp-agent";

/// Where runtimes find it.
pub(crate) const SOCKET: &str = "/run/seccomp-agent.socket";

/// What the tests' pods may ask for, beside what the deployed policy lets the examples.
const RULES: &str = include_str!("rules.yaml");

/// Deploys it, and waits until it serves.
pub(crate) fn deploy(cluster: &Cluster) {
    cluster.import_archive(&binaries::image().unwrap());
    let manifest = workspace().join("deploy/seccompagent.yaml");
    let mut objects = cluster.read(&["--filename", manifest.to_str().unwrap()]);
    for object in objects["items"].as_array_mut().unwrap() {
        if object["metadata"]["name"] == "seccomp-agent-policy" {
            let policy = object["data"]["policy.yaml"].as_str().unwrap();
            object["data"]["policy.yaml"] = format!("{policy}{RULES}").into();
        }
    }
    cluster.apply(&objects);
    is_deployed(cluster);
}

/// Has it replaced, as an upgrade does.
pub(crate) fn restart(cluster: &Cluster) {
    cluster.kubectl(&["--namespace", NAMESPACE, "rollout", "restart", "daemonset/seccomp-agent"]);
    is_deployed(cluster);
}

/// Waits until it is what was deployed last.
fn is_deployed(cluster: &Cluster) {
    let rollout = ["rollout", "status", "daemonset/seccomp-agent", "--timeout=120s"];
    cluster.kubectl(&[&["--namespace", NAMESPACE], &rollout[..]].concat());
}

/// Runs its command line where it runs.
pub(crate) fn exec(cluster: &Cluster, words: &[&str]) -> Ended {
    let exec =
        ["kubectl", "--namespace", NAMESPACE, "exec", "daemonset/seccomp-agent", "--container=agent", "--"];
    cluster.enter(&[&exec[..], &["/seccomp-agent"], words].concat())
}

/// Runs its command line, which has to succeed, and returns what it says.
#[track_caller]
pub(crate) fn run(cluster: &Cluster, words: &[&str]) -> String {
    let ended = exec(cluster, words);
    assert!(ended.success(), "{}: {ended}", words.join(" "));
    ended.stdout
}

/// All that agents of this run have logged, by line.
pub(crate) fn log(cluster: &Cluster) -> Vec<Value> {
    let lines = cluster.written(&format!("{NAMESPACE}_"), "agent");
    lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect()
}

/// Whether an agent says such a thing, within a while.
pub(crate) fn says(cluster: &Cluster, is_it: impl Fn(&Value) -> bool) -> bool {
    soon(|| log(cluster).iter().any(&is_it))
}

/// The process that serves.
pub(crate) struct Agent {
    /// As it is called out here.
    pid: u32,
}

/// What its workers may have opened between two looks, each once: its own root and namespaces, and the last caller.
const OF_WORKERS: usize = 18;

/// What it holds, and may not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    /// Of containers and of what was executed in them.
    pub(crate) listeners: usize,
    /// Those and all others.
    pub(crate) descriptors: usize,
    /// By name: which ones there are too many of is the first thing to know.
    pub(crate) threads: Vec<String>,
    pub(crate) processes: usize,
}

impl Agent {
    /// That of this cluster, if it is there.
    pub(crate) fn find(cluster: &Cluster) -> Option<Self> {
        let node = std::fs::read_to_string(cluster.state().join("pid-namespace")).unwrap();
        let all = std::fs::read_dir("/proc").unwrap();
        let mut pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let serves = |pid: &u32| {
            let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap_or_default();
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.starts_with(b"/seccomp-agent\0serve\0") && namespace == Path::new(node.trim())
        };
        pids.find(serves).map(|pid| Self { pid })
    }

    /// That of this cluster.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::find(cluster).unwrap()
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it without a word.
    pub(crate) fn kill(&self) {
        let pid = Pid::from_raw(self.pid.try_into().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// What it holds now.
    pub(crate) fn holds(&self) -> Holds {
        let descriptors = Usage::of(self.pid).unwrap().descriptors;
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        // Some end meanwhile.
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let mut threads: Vec<_> = names.map(|name| name.trim_end().to_owned()).collect();
        threads.sort();
        let processes = children(self.pid).unwrap().len();
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let listeners = targets.filter(|target| target == Path::new("anon_inode:seccomp notify")).count();
        Holds { listeners, descriptors, threads, processes }
    }

    /// What it holds once that does not change.
    pub(crate) fn settled(&self) -> Holds {
        let mut holds = self.holds();
        soon(|| {
            let before = std::mem::replace(&mut holds, self.holds());
            before == holds
        });
        holds
    }
}

impl Holds {
    /// Whether it holds nothing more than that.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.listeners <= other.listeners
            && self.descriptors <= other.descriptors + OF_WORKERS
            && self.threads.len() <= other.threads.len()
            && self.processes <= other.processes
    }
}
