//! What `serve` leaves its own threads of what they may do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, setrlimit};
use seccomp_agent_sandbox::{ControlPlane, Files, confine_agent};

use crate::args::{ResolverKind, Switch};
use crate::config::{Config, DEFAULT_RECORDINGS};

/// What confines the threads of the control plane, if anything does.
#[derive(Clone)]
pub(crate) struct Sandbox(Option<Arc<ControlPlane>>);

/// What libraries read: how to look up names, whom to trust, and what to call the lines of a backtrace; what is known of
/// processes, and how many threads make sense.
const LIBRARIES: &[&str] =
    &["/dev/urandom", "/etc", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/usr"];

/// Bytes of a core dump: no file has as few, and programs that take dumps get none (`core(5)`). Copies of what
/// containers have in memory are in them.
const CORE: u64 = 1;

impl Sandbox {
    /// Confines the calling thread, the only one, and all that it will start; or nobody, if that is not wanted.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        if config.sandbox == Switch::Off {
            return Ok(Self(None));
        }
        let limit = Rlimit { current: Some(CORE), maximum: Some(CORE) };
        setrlimit(Resource::Core, limit).context("limiting core dumps")?;
        confine_agent().context("confining the agent")?;
        let control = ControlPlane::new(files(config)).context("confining the control plane")?;
        Ok(Self(Some(Arc::new(control))))
    }

    /// Confines the thread of the control plane, which calls this when the threads that act have been started.
    pub(crate) fn confine_control_plane(&self) -> io::Result<()> {
        let Some(control) = &self.0 else {
            tracing::warn!(seccomp = "off", landlock = "off", "not sandboxed");
            return Ok(());
        };
        let landlock = control.confine().map_err(io::Error::other)?;
        tracing::info!(seccomp = "on", %landlock, "sandboxed");
        Ok(())
    }

    /// Confines another thread of the control plane. Those that are started late are confined already, and are so twice.
    pub(crate) fn confine_another(&self) {
        if let Some(control) = &self.0 {
            // Who could not be confined here could not be above, or is confined already.
            let _confined = control.confine();
        }
    }
}

/// What the control plane reads and writes.
fn files(config: &Config) -> Files {
    let mut files = Files { read: LIBRARIES.iter().map(PathBuf::from).collect(), ..Files::default() };
    files.read.extend(std::env::current_exe());
    files.read.extend(around(Path::new("/etc/resolv.conf")));
    if let Some(policy) = &config.policy {
        files.read.extend(around(policy));
    }
    if config.resolver == ResolverKind::Kubernetes {
        files.read.extend(seccomp_agent_kuberesolver::tokens().iter().flat_map(|token| around(token)));
    }
    files.write.push(config.recordings.clone().unwrap_or_else(|| DEFAULT_RECORDINGS.into()));
    files.write.extend(config.recording_profiles.clone());
    // Where the agent's own socket is taken away in the end.
    files.remove.extend(config.socket.parent().map(or_here));
    files
}

/// The directories of a file that may be replaced by another one of its name, and of what it is a link to.
fn around(file: &Path) -> Vec<PathBuf> {
    let behind = std::fs::canonicalize(file).ok();
    [Some(file), behind.as_deref()].into_iter().flatten().filter_map(Path::parent).map(or_here).collect()
}

fn or_here(directory: &Path) -> PathBuf {
    if directory.as_os_str().is_empty() { ".".into() } else { directory.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_replaced_where_it_is_and_where_it_leads() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let behind = root.join("behind");
        std::fs::create_dir(&behind).unwrap();
        std::fs::write(behind.join("policy"), "").unwrap();
        std::os::unix::fs::symlink("behind/policy", root.join("policy")).unwrap();
        assert_eq!(around(&root.join("policy")), [root, behind]);
        assert_eq!(around(Path::new("nowhere")), [Path::new(".")]);
    }
}
