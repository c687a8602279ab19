//! The cluster, one for all tests.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use seccomp_agent_tests::{Bed, Ended, binaries, eventually, run_for};
use serde_json::Value;

use crate::agent;

/// How long anything may take, on a busy machine as well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Of the cache, what there is of one run.
const STATE: &str = "node";

/// The cluster's node, as `tests/cluster/node` makes it, and the agent in it.
pub(crate) struct Cluster {
    cache: PathBuf,
    bed: Bed,
}

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cache = binaries::node().unwrap();
    // A static is never dropped.
    let bed = Bed::below(&cache.join(STATE)).unwrap();
    let cluster = Cluster { cache, bed };
    agent::deploy(&cluster);
    cluster
});

/// Held for writing while the cluster is not as pods may expect it.
static PEACE: RwLock<()> = RwLock::new(());

/// The cluster in peace, for a test; asked for once in each. The first that asks deploys the agent.
pub(crate) fn in_peace() -> (RwLockReadGuard<'static, ()>, &'static Cluster) {
    let peace = PEACE.read().unwrap_or_else(PoisonError::into_inner);
    (peace, &CLUSTER)
}

/// The cluster without anybody else, to be disturbed.
pub(crate) fn alone() -> (RwLockWriteGuard<'static, ()>, &'static Cluster) {
    let peace = PEACE.write().unwrap_or_else(PoisonError::into_inner);
    (peace, &CLUSTER)
}

/// Whether `holds` becomes true while somebody might still wait for it. Asks now and then: it takes processes.
pub(crate) fn soon(mut holds: impl FnMut() -> bool) -> bool {
    eventually(DEADLINE, || {
        std::thread::sleep(Duration::from_millis(200));
        holds()
    })
}

/// The workspace's root.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Cluster {
    /// What the node keeps of this run.
    pub(crate) fn state(&self) -> PathBuf {
        self.cache.join(STATE)
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
        assert!(soon(has_account), "{name}");
    }

    /// Removes a namespace with all that is in it, and waits until it is gone.
    #[track_caller]
    pub(crate) fn remove_namespace(&self, name: &str) {
        self.kubectl(&["delete", "namespace", name, "--timeout=110s"]);
    }

    /// Takes the API server away.
    pub(crate) fn without_api_server(&self) -> WithoutApiServer<'_> {
        let away = self.state().join("away/kube-apiserver");
        std::fs::write(&away, "").unwrap();
        let pid = std::fs::read_to_string(self.state().join("pids/kube-apiserver")).unwrap();
        let killed = self.enter(&["kill", "-KILL", pid.trim()]);
        assert!(killed.success(), "{killed}");
        WithoutApiServer { cluster: self, away }
    }

    /// Puts a profile where pods name it as `tests/NAME.json`.
    pub(crate) fn install(&self, name: &str, profile: &Value) {
        let folder = self.profiles().join("tests");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.json")), profile.to_string()).unwrap();
    }

    /// Imports an image of one layer, the folder `root`.
    pub(crate) fn import(&self, name: &str, root: &Path, words: &[&str]) {
        // The root of who is not root in it, too.
        std::fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        let archive = self.bed.subdirectory("image.").unwrap().join("image.tar");
        let made =
            run_for(DEADLINE, Self::program("image").arg(&archive).arg(name).arg(root).args(words)).unwrap();
        assert!(made.success(), "{made}");
        self.import_archive(&archive);
    }

    /// Imports an image.
    pub(crate) fn import_archive(&self, archive: &Path) {
        let archive = archive.to_str().unwrap();
        let imported = self.enter(&["ctr", "--namespace", "k8s.io", "images", "import", archive]);
        assert!(imported.success(), "{imported}");
    }

    /// What containers of this name have written, in pods whose `NAMESPACE_NAME_UID` begins so; as far as the node keeps it.
    /// Takes no API server.
    pub(crate) fn written(&self, pods: &str, container: &str) -> Vec<String> {
        let all = std::fs::read_dir(self.state().join("log/pods")).unwrap().map(|pod| pod.unwrap().path());
        let is_meant =
            |pod: &PathBuf| pod.file_name().is_some_and(|name| name.to_string_lossy().starts_with(pods));
        let folders = all.filter(is_meant).map(|pod| pod.join(container));
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        // One that has gone meanwhile is of a container that has.
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default());
        // TIME STREAM F LINE
        let said = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
        texts.flat_map(|text| text.lines().filter_map(said).collect::<Vec<_>>()).collect()
    }

    /// A private directory of this run.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }
}

/// A cluster whose API server is away; dropping it lets it come back.
pub(crate) struct WithoutApiServer<'a> {
    cluster: &'a Cluster,
    away: PathBuf,
}

impl WithoutApiServer<'_> {
    /// Lets it come back, and waits until it has.
    pub(crate) fn end(self) {
        let cluster = self.cluster;
        drop(self);
        assert!(soon(|| cluster.enter(&["kubectl", "get", "--raw", "/readyz"]).success()));
    }
}

impl Drop for WithoutApiServer<'_> {
    fn drop(&mut self) {
        // Without the file there is nothing to take back.
        let _ = std::fs::remove_file(&self.away);
    }
}
