//! The cluster, one for all tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use seccomp_agent_tests::{Bed, Ended, binaries, eventually, run_for};
use serde_json::Value;

use crate::agent;

/// How long anything may take, on a busy machine as well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The cluster's node, as `tests/cluster/node` makes it, and the agent in it.
pub(crate) struct Cluster {
    cache: PathBuf,
    bed: Bed,
}

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster { cache: binaries::node().unwrap(), bed: Bed::new().unwrap() };
    agent::deploy(&cluster);
    cluster
});

/// Held for writing while the cluster is not as pods may expect it.
static PEACE: RwLock<()> = RwLock::new(());

/// The cluster in peace. The first that asks deploys the agent.
pub(crate) fn in_peace() -> (RwLockReadGuard<'static, ()>, &'static Cluster) {
    let peace = PEACE.read().unwrap_or_else(PoisonError::into_inner);
    (peace, &CLUSTER)
}

/// The cluster without anybody else, to be disturbed.
pub(crate) fn alone() -> (RwLockWriteGuard<'static, ()>, &'static Cluster) {
    let peace = PEACE.write().unwrap_or_else(PoisonError::into_inner);
    (peace, &CLUSTER)
}

/// The workspace's root.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Cluster {
    /// What the node keeps of this run.
    pub(crate) fn state(&self) -> PathBuf {
        self.cache.join("node")
    }

    /// The kubelet's directory of seccomp profiles.
    pub(crate) fn profiles(&self) -> PathBuf {
        self.state().join("kubelet/seccomp")
    }

    /// One of the node's programs.
    pub(crate) fn program(name: &str) -> Command {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/node").join(name))
    }

    /// Runs a command in the node.
    pub(crate) fn enter(&self, words: &[&str]) -> Ended {
        run_for(DEADLINE, Self::program("enter").arg(&self.cache).args(words)).unwrap()
    }

    /// Runs kubectl, which has to succeed, and returns what it says.
    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        let ended = self.enter(&[&["kubectl"], words].concat());
        assert!(ended.success(), "kubectl {}: {ended}", words.join(" "));
        ended.stdout
    }

    /// An object, or several, of files.
    pub(crate) fn read(&self, words: &[&str]) -> Value {
        let say = ["create", "--dry-run=client", "--validate=false", "--output=json"];
        let said = self.kubectl(&[&say, words].concat());
        // Of several, one after the other.
        let mut all = serde_json::Deserializer::from_str(&said).into_iter::<Value>().map(Result::unwrap);
        let first = all.next().unwrap();
        let rest: Vec<_> = all.collect();
        if rest.is_empty() {
            return first;
        }
        let items: Vec<_> = std::iter::once(first).chain(rest).collect();
        serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items})
    }

    /// Makes or changes an object.
    #[track_caller]
    pub(crate) fn apply(&self, object: &Value) {
        let file = self.bed.subdirectory("apply.").unwrap().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&["apply", "--filename", file.to_str().unwrap()]);
    }

    /// Makes a namespace that takes pods.
    #[track_caller]
    pub(crate) fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
        let has_account =
            || self.enter(&["kubectl", "--namespace", name, "get", "serviceaccount", "default"]).success();
        assert!(eventually(DEADLINE, has_account), "{name}");
    }

    /// Puts a profile where pods name it as `tests/NAME.json`.
    pub(crate) fn install(&self, name: &str, profile: &Value) {
        let folder = self.profiles().join("tests");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.json")), profile.to_string()).unwrap();
    }

    /// Imports an image of one layer, the folder `root`.
    pub(crate) fn import(&self, name: &str, root: &Path, words: &[&str]) {
        let archive = self.bed.subdirectory("image.").unwrap().join("image.tar");
        let made =
            run_for(DEADLINE, Self::program("image").arg(&archive).arg(name).arg(root).args(words)).unwrap();
        assert!(made.success(), "{made}");
        let archive = archive.to_str().unwrap();
        let imported = self.enter(&["ctr", "--namespace", "k8s.io", "images", "import", archive]);
        assert!(imported.success(), "{imported}");
    }

    /// A private directory of this run.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }
}
