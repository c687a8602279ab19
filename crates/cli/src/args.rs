use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use seccomp_agent_launcher::{Capabilities, User};
use serde::Deserialize;

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
    /// Run a command in a container of its own, under a seccomp profile
    Run(RunArgs),
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

/// The options of `run`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run a command in a container of its own, under a seccomp profile\n\n\
    The command gets mount, pid, ipc and uts namespaces, a fresh /proc, the capabilities of a Docker container and \
    no_new_privs. The listener of its filter goes to --agent, in the message that runc sends, or is answered here. \
    Without --profile, exactly those calls are notified that the resolver has handlers for. Without root, a user \
    namespace takes its place.",
    after_help = "Exit status: that of COMMAND, or 128 and the signal that ended it; 125 failure of this program, \
    126 COMMAND cannot be executed, 127 COMMAND is not found."
)]
pub(crate) struct RunArgs {
    /// Load this seccomp profile, in the JSON of the OCI runtime specification; exactly, or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Hand the listener to the agent at this socket [default: the profile's listenerPath, without --resolver]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) agent: Option<PathBuf>,
    /// How to choose the handlers that answer here [default: none]
    #[arg(long, value_enum)]
    pub(crate) resolver: Option<ResolverKind>,
    /// Read settings from a YAML file, as `serve` does
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Use this directory as the root filesystem
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Run the command as this user and these groups, all numbers [default: 0:0]
    #[arg(long, value_name = "UID[:GID[,GID…]]")]
    pub(crate) user: Option<User>,
    /// Give a capability, or ALL, beyond those of a Docker container
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<Capabilities>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<Capabilities>,
    /// Let set-user-ID programs work: leave `no_new_privs` off
    #[arg(long)]
    pub(crate) new_privs: bool,
    /// The container's name, also its host name [default: run-PID, and the host's own name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// An annotation of the container, for the agent
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation)]
    pub(crate) annotation: Vec<(String, String)>,
    /// Text for the agent [default: the profile's listenerMetadata]
    #[arg(long, value_name = "TEXT")]
    pub(crate) metadata: Option<String>,
    /// Log what is at least as important as this, on stderr [default: warn]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn annotation(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("an annotation is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
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
