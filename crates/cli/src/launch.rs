//! A command in a container of its own: what `run`, `record` and `profile verify` have in common.

pub(crate) mod foreground;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use seccomp_agent_agent::{Config as EngineConfig, Engine};
use seccomp_agent_launcher::{
    Capabilities, Container as Launched, Ended, Handover, Launcher, User, enter_user_namespace,
    is_privileged, join_user_namespace,
};
use seccomp_agent_registry::{Container, Registry, Status};

use self::foreground::{FORWARDED, Foreground, Meanwhile};

/// What the container is, but for its filter.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Use this directory as the root filesystem
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Run the command as this user and these groups, all numbers [default: 0:0]
    #[arg(long, value_name = "UID[:GID[,GID…]]")]
    user: Option<User>,
    /// Give a capability, or ALL, beyond those of a Docker container
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<Capabilities>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<Capabilities>,
    /// Let set-user-ID programs work: leave `no_new_privs` off
    #[arg(long)]
    new_privs: bool,
}

impl ContainerArgs {
    /// A launcher of `command` in such a container.
    pub(crate) fn launcher(&self, command: &[OsString]) -> Launcher {
        let all = |sets: &[Capabilities]| sets.iter().fold(Capabilities::empty(), |all, set| all.union(*set));
        let mut launcher = Launcher::new(command.iter().cloned())
            .add_capabilities(all(&self.cap_add))
            .drop_capabilities(all(&self.cap_drop))
            .bind_to_thread();
        if let Some(rootfs) = &self.rootfs {
            launcher = launcher.rootfs(rootfs);
        }
        if let Some(user) = &self.user {
            launcher = launcher.user(user.clone());
        }
        if self.new_privs { launcher.allow_new_privileges() } else { launcher }
    }

    /// What an agent is told of the container, but for the pid, which is not known yet.
    pub(crate) fn describe(&self, name: String) -> anyhow::Result<Container> {
        let mut container = Container::named(name);
        container.status = Status::Creating;
        container.bundle = match &self.rootfs {
            Some(rootfs) => {
                rootfs.canonicalize().with_context(|| format!("the root filesystem {}", rootfs.display()))?
            }
            None => std::env::current_dir().context("the working directory")?,
        };
        Ok(container)
    }
}

/// Who answers what is notified.
pub(crate) enum Answerer<'a> {
    /// Nothing is notified.
    Nobody,
    /// An agent, already connected.
    Agent(UnixStream),
    /// This process, by so many threads, and with the handlers that it has for the container.
    Here { workers: Option<u32>, registry: &'a dyn Fn(&Container) -> anyhow::Result<Registry> },
}

/// A container that was started in place of this process.
pub(crate) struct Running {
    foreground: Foreground,
    command: Launched,
    engine: Option<Engine>,
}

/// How long calls that are being answered have when the command has ended. Their callers are gone.
const PATIENCE: Duration = Duration::from_secs(1);

impl Running {
    /// Starts the container, in a user namespace if this takes one. While there is one thread only: a user namespace is
    /// for a whole process, and so is a signal mask.
    pub(crate) fn start(
        launcher: &Launcher,
        mut container: Container,
        answerer: &Answerer<'_>,
    ) -> anyhow::Result<Self> {
        if !is_privileged() && !is_joined(answerer)? {
            enter_user_namespace()?;
        }
        let foreground = Foreground::take(&FORWARDED)?;
        let engine = match answerer {
            Answerer::Here { workers, .. } => {
                let mut config = EngineConfig::default();
                config.workers = workers.unwrap_or(config.workers);
                Some(Engine::start(config)?)
            }
            Answerer::Nobody | Answerer::Agent(_) => None,
        };
        let mut command = launcher.launch()?;
        container.pid = command.pid();
        container.init_pid = command.pid();
        if let Some(listener) = command.take_listener() {
            match (answerer, &engine) {
                (Answerer::Agent(stream), _) => handover(&container).send(stream, listener.as_fd())?,
                (Answerer::Here { registry, .. }, Some(engine)) => {
                    let registry = registry(&container)?;
                    engine.serve(listener, Arc::new(container), Arc::new(registry))?;
                }
                _ => {}
            }
        }
        Ok(Self { foreground, command, engine })
    }

    /// Waits for the command's end.
    pub(crate) fn wait(&mut self, meanwhile: Option<Meanwhile<'_>>) -> anyhow::Result<Ended> {
        self.foreground.wait(&mut self.command, meanwhile)
    }

    /// Kills what is left of the container, and waits until every call of it has been answered.
    pub(crate) fn stop(self) {
        drop(self.command);
        if let Some(engine) = self.engine {
            // Whoever was still there is gone with the container.
            let _served = engine.stop(PATIENCE);
        }
    }
}

/// Whether the agent is root in another user namespace, which this process is in now.
fn is_joined(answerer: &Answerer<'_>) -> anyhow::Result<bool> {
    let Answerer::Agent(stream) = answerer else { return Ok(false) };
    let peer = getsockopt(stream, PeerCredentials).context("asking who listens at the agent's socket")?;
    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0);
    let pid =
        pid.context("the agent is in a pid namespace that cannot be seen from here; start both in one")?;
    Ok(join_user_namespace(pid)?)
}

fn handover(container: &Container) -> Handover {
    Handover {
        id: container.id.clone(),
        pid: container.pid,
        bundle: container.bundle.clone(),
        annotations: container.annotations.clone(),
        metadata: container.metadata.clone(),
    }
}
