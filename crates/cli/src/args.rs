use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::policy::PolicyArgs;

/// Answers the seccomp notifications of containers.
///
/// A container runtime that finds `listenerPath` in a seccomp profile hands the agent the filter's listener. The
/// agent finds out whose container it is and answers each notified system call: emulated, refused, delayed or
/// continued.
#[derive(Debug, Parser)]
#[command(name = "seccomp-agent", version = VERSION, propagate_version = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve containers until SIGTERM
    Serve(ServeArgs),
    /// Check policies, and explain what they grant
    Policy(PolicyArgs),
}

/// The options of `serve`. Each overrides the key of the same name in the configuration file.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Exit status: 0 stopped by SIGTERM or SIGINT, 1 failure, 2 usage or configuration.\n\
    RUST_LOG overrides --log-level, by module.")]
pub(crate) struct ServeArgs {
    /// Read settings from a YAML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this path, unless a socket is passed in by systemd [default: /run/seccomp-agent.socket]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How to choose the handlers of a container [default: none]
    #[arg(long, value_enum)]
    pub(crate) resolver: Option<ResolverKind>,
    /// Grant what this policy says; it is read again on SIGHUP and when it changes. Implies `--resolver policy`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// How to write the log, on stderr [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Log what is at least as important as this [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Serve Prometheus metrics on this address, at `/metrics`
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_bind_address: Option<SocketAddr>,
}

/// Ways to choose the handlers of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResolverKind {
    /// No handlers: every notified call continues
    None,
    /// The same for every container, to try things out: mkdir adds a suffix, chmod fails with EBADMSG, proc can
    /// be mounted, /bin/true starts two seconds late
    DemoBasic,
    /// What the policy given by `--policy` grants
    Policy,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// How important something has to be to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    /// Failures of the agent itself
    Error,
    /// What somebody should look at
    Warn,
    /// Containers that come and go
    Info,
    /// What containers ask for
    Debug,
    /// Everything
    Trace,
}

/// The version and the commit that the binary was built from.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SECCOMP_AGENT_COMMIT"), ")");

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
