use std::sync::Arc;

use anyhow::Context;
use seccomp_agent_agent::{Agent, Socket, raise_descriptor_limit};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ServeArgs;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::reload::CurrentPolicy;
use crate::resolve::Configured;
use crate::{inherited, log, metrics};

/// `seccomp-agent serve`: returns once SIGTERM or SIGINT has stopped it.
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    log::init(config.log_format, config.log_level)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control plane")?;
    runtime.block_on(run(&config))
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let policy = config.policy.as_deref().map(CurrentPolicy::follow).transpose()?;
    let mut agent = Agent::new(Configured::new(config.resolver, policy))
        .fallback(config.fallback, config.resolve_deadline);
    if let Some(workers) = config.workers {
        agent = agent.engine(|engine| engine.workers = workers);
    }
    // Before there is a socket: an address that is taken must not end an agent that answers already.
    if let Some(address) = config.metrics_bind_address {
        let metrics = Arc::new(Metrics::new());
        agent = agent.engine(|engine| engine.observer = Some(metrics.observer()));
        metrics::serve(address, metrics).await?;
    }
    let inherited = inherited::socket()?;
    let from = if inherited.is_some() { "systemd".into() } else { config.socket.display().to_string() };
    let socket = inherited.map_or_else(|| Socket::bind(&config.socket), Ok)?;
    let resolver = config.resolver;
    agent = agent
        .engine(|engine| tracing::info!(features = ?engine.features, workers = engine.workers, "starting"))
        .on_ready(move || {
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
    tracing::info!(containers = left.len(), "stopped");
    Ok(())
}
