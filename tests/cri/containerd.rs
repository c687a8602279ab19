use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{bail, ensure};
use seccomp_agent_tests::{Bed, Bundle, eventually, run_for};

use crate::image;

/// How long containerd may take to serve, and to import the image.
const START: Duration = Duration::from_secs(30);

/// containerd, with everything of its own in the test bed and an image that holds the bundle's root filesystem.
/// Dropping it ends it; its pods have to be removed before.
pub(crate) struct Containerd {
    child: Child,
    directory: PathBuf,
}

impl Containerd {
    /// Starts it.
    pub(crate) fn start(bed: &Bed, bundle: &Bundle) -> anyhow::Result<Self> {
        let directory = bed.subdirectory("containerd.")?;
        std::fs::write(directory.join("config.toml"), config(&directory))?;
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(directory.join("config.toml")).stdout(log.try_clone()?).stderr(log);
        let containerd = Self { child: command.spawn()?, directory };
        if !eventually(START, || containerd.ctr(&["version"]).is_ok()) {
            bail!("containerd does not serve after {START:?}: {}", containerd.log());
        }
        let archive = image::pack(&bundle.rootfs(), &bed.subdirectory("image.")?)?;
        containerd.ctr(&["--namespace", "k8s.io", "images", "import", &archive.to_string_lossy()])?;
        Ok(containerd)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    fn ctr(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("ctr");
        let ended = run_for(START, command.arg("--address").arg(self.socket()).args(arguments))?;
        ensure!(ended.success(), "ctr {}: {ended}", arguments.join(" "));
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Nothing is to be done about one that cannot be killed: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a node's, but for its places, and for the limits that a restricted root cannot raise.
fn config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"
version = 2
root = "{directory}/root"
state = "{directory}/state"

[grpc]
address = "{directory}/socket"

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/cni"
conf_dir = "{directory}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["*", "*/*"]
container_annotations = ["*", "*/*"]
"#,
        image = image::IMAGE,
    )
}
