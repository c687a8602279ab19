//! An OCI bundle, run by a container runtime under the profile that records it. The bundle stays as it is.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, ensure};
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal as Forwarded, pidfd_open, pidfd_send_signal};
use seccomp_agent_agent::{Agent, ResolveError, Socket};
use seccomp_agent_launcher::{Ended, Event};
use seccomp_agent_recorder::{Name, Recorder, RunId};
use seccomp_agent_registry::{Container, Registry};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::launch::foreground::{self, Foreground, Meanwhile};
use crate::profile::{Runtime, recording};

/// The largest `config.json`; Kubernetes lets annotations alone have 256 KiB.
const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// What is passed on to the runtime. What stops a process stops the runtime, and its command line, by itself.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTERM];

/// Runs the container of `bundle` to its end, in place of this process.
pub(super) fn run(
    bundle: &Path,
    runtime: Runtime,
    recorder: &Recorder,
    meanwhile: Option<Meanwhile<'_>>,
) -> anyhow::Result<Ended> {
    let copy = Copied::of(bundle, runtime)?;
    // Before there is a second thread, which would get the signals.
    let foreground = Foreground::take(&PASSED_ON)?;
    let agent = Serving::start(&copy.socket(), recorder)?;
    let mut run = Run::start(runtime, copy.directory.path())?;
    let ended = foreground.wait(&mut run, meanwhile);
    drop(run);
    agent.stop()?;
    ended
}

/// A bundle with another profile, and otherwise the same.
struct Copied {
    directory: TempDir,
}

impl Copied {
    fn of(bundle: &Path, runtime: Runtime) -> anyhow::Result<Self> {
        let bundle = bundle.canonicalize().with_context(|| format!("the bundle {}", bundle.display()))?;
        let directory = tempfile::Builder::new().prefix("seccomp-agent.").tempdir();
        let copy = Self { directory: directory.context("making a temporary directory")? };
        let path = bundle.join("config.json");
        let mut config = read(&path)?;
        let name: Name = "bundle".parse()?;
        let socket = copy.socket();
        let socket = socket.to_str().context("the directory for temporary files is not UTF-8")?;
        let profile = recording(name, socket, runtime, None);
        change(&mut config, &bundle, serde_json::to_value(profile)?)
            .with_context(|| path.display().to_string())?;
        let config = serde_json::to_vec(&config)?;
        fs::write(copy.directory.path().join("config.json"), config).context("writing the bundle's copy")?;
        // What hooks may look for beside it.
        for entry in fs::read_dir(&bundle).with_context(|| bundle.display().to_string())? {
            let entry = entry?;
            if entry.file_name() != "config.json" {
                symlink(entry.path(), copy.directory.path().join(entry.file_name()))
                    .context("making the bundle's copy")?;
            }
        }
        Ok(copy)
    }

    /// Too long a name for one of the bundle's own entries to be the same.
    fn socket(&self) -> PathBuf {
        self.directory.path().join(".seccomp-agent-record.socket")
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_CONFIG + 1).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    ensure!(text.len() as u64 <= MAX_CONFIG, "{} has more than {MAX_CONFIG} bytes", path.display());
    serde_json::from_str(&text).with_context(|| format!("{} is no configuration", path.display()))
}

/// Puts the profile in, and makes those paths absolute that are meant from where the bundle is.
fn change(config: &mut Value, bundle: &Path, profile: Value) -> anyhow::Result<()> {
    let absolute = |path: &Value| path.as_str().map(|path| Value::from(bundle.join(path).to_string_lossy()));
    let root = config.pointer_mut("/root/path").context("it names no root filesystem")?;
    // runc takes no symbolic link for a root.
    let path = root.as_str().map(|path| bundle.join(path)).context("its root filesystem is no path")?;
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    *root = path.to_str().context("its root filesystem is not UTF-8")?.into();
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        let options = mount.get("options").and_then(Value::as_array);
        let binds =
            options.is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"));
        let is_bind = binds || mount.get("type").is_some_and(|kind| kind == "bind");
        if is_bind && let Some(source) = mount.get_mut("source") {
            *source = absolute(source).context("the source of a mount is no path")?;
        }
    }
    let linux = config.get_mut("linux").context("it is for no Linux")?;
    let linux = linux.as_object_mut().context("its `linux` is no object")?;
    linux.insert("seccomp".to_owned(), profile);
    Ok(())
}

/// The agent that the runtime hands listeners to.
struct Serving {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Serving {
    fn start(socket: &Path, recorder: &Recorder) -> anyhow::Result<Self> {
        let recorder = recorder.clone();
        let resolve = move |container: &Container| -> Result<Registry, ResolveError> {
            let mut registry = Registry::new();
            if container.is_exec() {
                recorder.attach_exec(&mut registry);
            } else {
                recorder.attach(&mut registry);
            }
            Ok(registry)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting the agent")?;
        // Bound before the runtime is started, which connects to it.
        let socket = Socket::bind(socket)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("agent".to_owned()).spawn(move || {
            let stopped = async {
                // An error is a sender that is gone, which means the same.
                let _stopped = stopped.await;
            };
            runtime.block_on(Agent::new(resolve).serve(socket, stopped))?;
            Ok(())
        });
        Ok(Self { stop, thread: thread.context("starting the agent")? })
    }

    fn stop(self) -> anyhow::Result<()> {
        let _gone = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("the agent has panicked"))?
    }
}

/// A runtime that runs a container. Dropping it deletes the container, if it is still there.
struct Run {
    runtime: Runtime,
    id: String,
    child: Child,
    pidfd: OwnedFd,
}

impl Run {
    fn start(runtime: Runtime, bundle: &Path) -> anyhow::Result<Self> {
        let id = format!("record-{}", RunId::now());
        let mut command = Command::new(runtime.program());
        let child = command.arg("run").arg("--bundle").arg(bundle).arg(&id).spawn();
        let child = child.with_context(|| format!("executing {}", runtime.program()))?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("opening a pidfd")?;
        Ok(Self { runtime, id, child, pidfd })
    }

    /// Has the runtime do something with the container; whether it could.
    fn tell(&self, words: &[&str]) -> bool {
        let mut command = Command::new(self.runtime.program());
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.args(words).status().is_ok_and(|status| status.success())
    }
}

impl AsFd for Run {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl foreground::Command for Run {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Forwarded) -> Result<(), Errno> {
        // The runtime passes signals on, but for this one, which would leave the container alone.
        if signal == Forwarded::KILL && self.tell(&["kill", &self.id, "KILL"]) {
            return Ok(());
        }
        pidfd_send_signal(&self.pidfd, signal)
    }

    fn next_event(&mut self) -> anyhow::Result<Event> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().context("waiting for the runtime")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let ended = code.map_or_else(|| Ended::Killed(status.signal().unwrap_or_default()), Ended::Exited);
        Ok(Event::Ended(ended))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Where the runtime has ended by itself, it has deleted the container.
        self.tell(&["delete", "--force", &self.id]);
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_copy_has_the_profile_and_absolute_paths_and_the_rest_as_it_was() {
        let bundle = tempfile::tempdir().unwrap();
        fs::create_dir(bundle.path().join("rootfs")).unwrap();
        let config = json!({"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/d", "type": "bind", "source": "../d"},
                {"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}, "namespaces": []}});
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let copy = Copied::of(bundle.path(), Runtime::Runc).unwrap();
        let mut changed = read(&copy.directory.path().join("config.json")).unwrap();
        let real = bundle.path().canonicalize().unwrap();
        assert_eq!(changed["root"]["path"], real.join("rootfs").to_str().unwrap());
        assert_eq!(changed["mounts"][0]["source"], real.join("../d").to_str().unwrap());
        assert_eq!(changed["linux"]["seccomp"]["listenerPath"], copy.socket().to_str().unwrap());
        changed["root"]["path"] = "rootfs".into();
        changed["mounts"][0]["source"] = "../d".into();
        changed["linux"]["seccomp"] = config["linux"]["seccomp"].clone();
        assert_eq!(changed, config);
        assert_eq!(read(&bundle.path().join("config.json")).unwrap(), config);
        assert!(copy.directory.path().join("rootfs").is_dir());
    }

    #[test]
    fn a_bundle_that_is_none_is_told_with_what_is_missing() {
        let bundle = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            fs::write(bundle.path().join("config.json"), text).unwrap();
            format!("{:#}", Copied::of(bundle.path(), Runtime::Crun).map(|_| ()).unwrap_err())
        };
        for (text, expected) in [
            ("{", "no configuration"),
            ("{}", "no root filesystem"),
            (r#"{"root": {"path": "nowhere"}}"#, "nowhere"),
            (r#"{"root": {"path": "."}}"#, "no Linux"),
        ] {
            let message = refused(text);
            assert!(message.contains("config.json") && message.contains(expected), "{text}: {message}");
        }
    }
}
