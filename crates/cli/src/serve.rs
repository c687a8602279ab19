use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use seccomp_agent_agent::{Agent, Socket, raise_descriptor_limit};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ResolverKind, ServeArgs};
use crate::cluster::Cluster;
use crate::config::{Config, DEFAULT_RECORDINGS};
use crate::falco::Plugin;
use crate::metrics::Metrics;
use crate::reload::CurrentPolicy;
use crate::resolve::Configured;
use crate::sandbox::Sandbox;
use crate::watching::{Profiles, Violations, Watching};
use crate::{inherited, log, metrics};

/// How long a thread for what may block waits for more of it. Looking for a new policy and saving recordings are such
/// work, four times a second together, and each time another of the waiting threads is woken: those of a crowd of
/// containers only ever go if they wait for less than a quarter of a second.
const IDLE_THREAD: Duration = Duration::from_millis(100);

/// `seccomp-agent serve`: returns once SIGTERM or SIGINT has stopped it.
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    log::init(config.log_format, config.log_level)?;
    raise_descriptor_limit();
    let sandbox = Sandbox::of(&config)?;
    let (confine, theirs) = (sandbox.clone(), sandbox);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || theirs.confine_another())
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .context("starting the control plane")?;
    runtime.block_on(run(&config, confine))
}

async fn run(config: &Config, sandbox: Sandbox) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let policy = config.policy.as_deref().map(CurrentPolicy::follow).transpose()?;
    let violations = Violations::default();
    let watching = watching(config, policy.as_ref(), &violations)?;
    let mut resolver = Configured::new(config.resolver, policy);
    if let Some(socket) = &config.falco_socket {
        resolver = resolver.with_falco(Plugin::at(socket));
    }
    if config.resolver == ResolverKind::Kubernetes {
        resolver = resolver.in_cluster(Cluster::follow(config.node_name.as_deref()).await?);
    }
    if let Some(watching) = &watching {
        resolver = resolver.recording(Arc::clone(watching))?;
        tokio::spawn(Arc::clone(watching).save());
    }
    let mut agent = Agent::new(resolver).fallback(config.fallback, config.resolve_deadline);
    if let Some(workers) = config.workers {
        agent = agent.engine(|engine| engine.workers = workers);
    }
    // Before there is a socket: an address that is taken must not end an agent that answers already.
    let mut metrics = None;
    if let Some(address) = config.metrics_bind_address {
        let served = metrics.insert(Arc::new(Metrics::new(violations)));
        agent = agent.engine(|engine| engine.observer = Some(served.observer()));
        metrics::serve(address, Arc::clone(served))?;
    }
    let inherited = inherited::socket()?;
    let from = if inherited.is_some() { "systemd".into() } else { config.socket.display().to_string() };
    let socket = inherited.map_or_else(|| Socket::bind(&config.socket), Ok)?;
    let resolver = config.resolver;
    agent = agent
        .engine(|engine| tracing::info!(features = ?engine.features, workers = engine.workers, "starting"))
        .before_serving(move || sandbox.confine_control_plane())
        .on_ready(move || {
            if let Some(metrics) = metrics {
                metrics.ready();
            }
            // Without systemd there is nobody to tell.
            let _told = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            tracing::info!(socket = from, ?resolver, version = crate::args::VERSION, "listening");
        });

    let stopped = async move {
        let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let _told = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!(signal = name, "stopping");
    };
    let left = agent.serve(socket, stopped).await?;
    if let Some(watching) = watching {
        watching.finish();
    }
    tracing::info!(containers = left.len(), "stopped");
    Ok(())
}

/// What is recorded, if anything may be: where a directory is named, and where a policy has containers recorded.
fn watching(
    config: &Config,
    policy: Option<&CurrentPolicy>,
    violations: &Violations,
) -> anyhow::Result<Option<Arc<Watching>>> {
    let is_wanted = config.recordings.is_some() || policy.is_some_and(CurrentPolicy::records);
    if !is_wanted {
        return Ok(None);
    }
    let directory = config.recordings.as_deref().unwrap_or(Path::new(DEFAULT_RECORDINGS));
    let profiles = config.recording_profiles.clone().map(|directory| Profiles {
        directory,
        // Runtimes have another working directory.
        socket: std::path::absolute(&config.socket).unwrap_or_else(|_| config.socket.clone()),
    });
    Watching::open(directory, profiles, violations.clone()).map(Some)
}
