//! `seccomp-agent run`: a command in a container, with an agent in this process or another.

mod foreground;
mod profile;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use seccomp_agent_agent::{Config as EngineConfig, Engine};
use seccomp_agent_launcher::{
    Capabilities, Handover, Launcher, connect, enter_user_namespace, is_privileged, join_user_namespace,
};
use seccomp_agent_registry::{Container, Registry, Status};

use crate::args::{LogLevel, RunArgs, ServeArgs};
use crate::config::Config;
use crate::log;
use crate::reload::CurrentPolicy;
use crate::resolve::Configured;
use foreground::Foreground;
use profile::Loadable;

/// The exit status for what is not the command's doing (`env(1)`).
pub(crate) const OWN_FAILURE: u8 = 125;

/// Runs the command and returns its exit status.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let config = Config::load(&ServeArgs {
        config: args.config.clone(),
        resolver: args.resolver,
        log_level: args.log_level,
        ..ServeArgs::default()
    })?;
    let level =
        if args.config.is_none() && args.log_level.is_none() { LogLevel::Warn } else { config.log_level };
    log::init(config.log_format, level)?;
    let policy = config.policy.as_deref().map(CurrentPolicy::read).transpose()?;
    let resolver = Configured::new(config.resolver, policy);
    let mut container = describe(args)?;
    let loadable = Loadable::load(args.profile.as_deref(), &registry(&resolver, &container)?)?;
    if container.metadata.is_empty() {
        container.metadata.clone_from(&loadable.metadata);
    }
    let socket = args.agent.clone().or_else(|| {
        let nobody_here = args.resolver.is_none() && args.config.is_none();
        loadable.listener_path.clone().filter(|_| nobody_here).map(PathBuf::from)
    });

    // While there is one thread: a user namespace is for a whole process, and so is a signal mask.
    let stream = socket.filter(|_| loadable.filter.has_listener()).map(|path| connect(&path)).transpose()?;
    if !is_privileged() && !is_joined(stream.as_ref())? {
        enter_user_namespace()?;
    }
    let foreground = Foreground::take()?;
    let agent = match stream {
        _ if !loadable.filter.has_listener() => Answerer::Nobody,
        Some(stream) => Answerer::Agent(stream),
        None => {
            let mut engine = EngineConfig::default();
            engine.workers = config.workers.unwrap_or(engine.workers);
            Answerer::Here(Engine::start(engine)?)
        }
    };
    let mut launched = launcher(args).filter(loadable.filter).launch()?;
    container.pid = launched.pid();
    container.init_pid = launched.pid();
    if let Some(listener) = launched.take_listener() {
        match &agent {
            Answerer::Agent(stream) => {
                handover(&container).send(stream, listener.as_fd())?;
            }
            Answerer::Here(engine) => {
                let registry = registry(&resolver, &container)?;
                engine.serve(listener, Arc::new(container), Arc::new(registry))?;
            }
            Answerer::Nobody => {}
        }
    }
    let ended = foreground.wait(&mut launched)?;
    Ok(ended.exit_status())
}

/// Who answers what is notified.
enum Answerer {
    /// Nothing is notified.
    Nobody,
    /// An agent, already connected.
    Agent(UnixStream),
    /// This process.
    Here(Engine),
}

/// Whether the agent is root in another user namespace, which this process is in now.
fn is_joined(agent: Option<&UnixStream>) -> anyhow::Result<bool> {
    let Some(stream) = agent else { return Ok(false) };
    let peer = getsockopt(stream, PeerCredentials).context("asking who listens at the agent's socket")?;
    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0);
    let pid =
        pid.context("the agent is in a pid namespace that cannot be seen from here; start both in one")?;
    Ok(join_user_namespace(pid)?)
}

fn registry(resolver: &Configured, container: &Container) -> anyhow::Result<Registry> {
    resolver
        .registry(container)
        .map_err(|error| anyhow!(error))
        .context("the resolver has no handlers for the container")
}

/// What an agent is told, but for the pid, which is not known yet.
fn describe(args: &RunArgs) -> anyhow::Result<Container> {
    let name = args.name.clone().unwrap_or_else(|| format!("run-{}", std::process::id()));
    let mut container = Container::named(name);
    container.status = Status::Creating;
    container.bundle = match &args.rootfs {
        Some(rootfs) => {
            rootfs.canonicalize().with_context(|| format!("the root filesystem {}", rootfs.display()))?
        }
        None => std::env::current_dir().context("the working directory")?,
    };
    container.annotations = args.annotation.iter().cloned().collect();
    container.metadata = args.metadata.clone().unwrap_or_default();
    Ok(container)
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

fn launcher(args: &RunArgs) -> Launcher {
    let all = |sets: &[Capabilities]| sets.iter().fold(Capabilities::empty(), |all, set| all.union(*set));
    let mut launcher = Launcher::new(args.command.iter().cloned())
        .add_capabilities(all(&args.cap_add))
        .drop_capabilities(all(&args.cap_drop))
        .bind_to_thread();
    if let Some(rootfs) = &args.rootfs {
        launcher = launcher.rootfs(rootfs);
    }
    if let Some(user) = &args.user {
        launcher = launcher.user(user.clone());
    }
    if let Some(name) = &args.name {
        launcher = launcher.hostname(name);
    }
    if args.new_privs {
        launcher = launcher.allow_new_privileges();
    }
    launcher
}
