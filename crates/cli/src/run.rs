//! `seccomp-agent run`: a command in a container, with an agent in this process or another.

pub(crate) mod profile;

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use seccomp_agent_launcher::connect;
use seccomp_agent_registry::{Container, Registry};

use crate::args::{LogLevel, RunArgs, ServeArgs};
use crate::config::Config;
use crate::launch::{Answerer, Running};
use crate::log;
use crate::reload::CurrentPolicy;
use crate::resolve::Configured;
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

    let stream = socket.filter(|_| loadable.filter.has_listener()).map(|path| connect(&path)).transpose()?;
    let registry = |container: &Container| registry(&resolver, container);
    let answerer = match stream {
        _ if !loadable.filter.has_listener() => Answerer::Nobody,
        Some(stream) => Answerer::Agent(stream),
        None => Answerer::Here { workers: config.workers, registry: &registry },
    };
    let mut launcher = args.container.launcher(&args.command).filter(loadable.filter);
    if let Some(name) = &args.name {
        launcher = launcher.hostname(name);
    }
    let ended = Running::start(&launcher, container, &answerer)?.wait(None)?;
    Ok(ended.exit_status())
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
    let mut container = args.container.describe(name)?;
    container.annotations = args.annotation.iter().cloned().collect();
    container.metadata = args.metadata.clone().unwrap_or_default();
    Ok(container)
}
