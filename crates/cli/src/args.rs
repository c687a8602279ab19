use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::doctor::DoctorArgs;
use crate::help::{CompletionArgs, ManArgs};
use crate::launch::ContainerArgs;
use crate::metrics::Address;
use crate::policy::PolicyArgs;
use crate::profile::ProfileArgs;
use crate::record::RecordArgs;
use crate::recordings::RecordingsArgs;

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
    #[command(about = "Run a command in a container of its own, under a seccomp profile")]
    Run(RunArgs),
    #[command(about = "Run a command, count its system calls, and make a seccomp profile of them")]
    Record(RecordArgs),
    #[command(about = "List recordings, and make profiles of them")]
    Recordings(RecordingsArgs),
    /// Make and install profiles, and tell what one would refuse
    Profile(ProfileArgs),
    /// Print a script that completes command lines of this program
    Completion(CompletionArgs),
    #[command(hide = true, about = "Write the manual pages into a directory")]
    Man(ManArgs),
    #[command(about = "Tell what on this machine keeps the agent from working, and how to mend it")]
    Doctor(DoctorArgs),
    /// Be the OCI runtime of an engine that drops `listenerPath`, such as docker
    ///
    /// Name it as a runtime of the engine. At `create` and `run` it adds listenerPath to the bundle's config.json,
    /// if the profile there notifies calls and says no listenerPath; then it executes the runtime with the same
    /// arguments. All arguments from the first that is none of its own options are the runtime's, --help and
    /// --version included.
    OciRuntime(OciRuntimeArgs),
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
    /// What the cluster calls this node, for the resolver `kubernetes` [default: `NODE_NAME` of the environment, or the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Grant what this policy says; it is read again on SIGHUP and when it changes. Implies `--resolver policy`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// How to write the log, on stderr [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Log what is at least as important as this [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Serve Prometheus metrics on this address, at `/metrics`, and at `/readyz` whether runtimes find the agent;
    /// `:PORT` is all addresses of this machine
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_bind_address: Option<Address>,
    /// Confine the agent's own threads to what they need, by seccomp and Landlock [default: on]
    #[arg(long, value_enum, value_name = "SWITCH")]
    pub(crate) sandbox: Option<Switch>,
    /// Keep recordings in this directory: of the containers that the policy has recorded, or without a policy of those
    /// that ask for it by `RECORD=NAME` [default, with such a policy: /var/lib/seccomp-agent/recordings]
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
    /// Write the profile for the next start of recorded containers into this directory, as NAME.json: it notifies what is
    /// not known yet, and allows the rest
    #[arg(long, value_name = "DIR")]
    pub(crate) recording_profiles: Option<PathBuf>,
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
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
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

/// The options of `oci-runtime`. Each overrides the key of the same name in the configuration file.
#[derive(Debug, Default, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Exit status: the runtime's; 1 if it could not be called, with the reason on stderr and in its \
        --log. In docker's daemon.json:\n\n  \
        \"runtimes\": {\"seccomp-agent\": {\"path\": \"/usr/local/bin/seccomp-agent\", \"runtimeArgs\": [\"oci-runtime\"]}}"
)]
pub(crate) struct OciRuntimeArgs {
    /// Read settings from a YAML file [default: /etc/seccomp-agent/oci-runtime.yaml, if it is there]
    #[arg(long = "agent-config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The runtime to execute [default: runc]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) runtime: Option<PathBuf>,
    /// The agent's socket [default: the profile's listenerPath, or else /run/seccomp-agent.socket]
    #[arg(long, value_name = "PATH")]
    pub(crate) listener_path: Option<String>,
    /// What the agent's resolver is told [default: the profile's listenerMetadata, or else nothing]
    #[arg(long, value_name = "TEXT")]
    pub(crate) listener_metadata: Option<String>,
    /// Take listenerPath and listenerMetadata from this seccomp profile, the one that the engine is given
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// The runtime's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) runtime_args: Vec<OsString>,
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
    /// The same, with what the cluster knows of a container's pod: labels, service account, owner, annotations.
    /// Follows the pods of this node, as the pod that this runs in or by KUBECONFIG
    Kubernetes,
}

/// How what was asked for is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// JSON, for machines
    Json,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    /// It is
    On,
    /// It is not
    Off,
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

    #[test]
    fn what_follows_the_wrappers_own_options_is_the_runtimes() {
        for (own, runtimes) in [
            ("", "--version"),
            ("", "--help"),
            ("", "-v"),
            ("", "--root /r --log /l create --bundle /b --listener-path /no id"),
            ("--runtime crun", "--root=/r state id"),
            ("--listener-path /s --listener-metadata a=b", "--unknown create --runtime x id"),
            ("--profile /p", "exec id sh -- -c x"),
            ("--agent-config /c", "create --config /other id"),
            ("", ""),
        ] {
            let line = format!("seccomp-agent oci-runtime {own} {runtimes}");
            let args = Args::try_parse_from(line.split_whitespace()).unwrap();
            let Command::OciRuntime(args) = args.command else { panic!("{line}") };
            let expected: Vec<_> = runtimes.split_whitespace().map(OsString::from).collect();
            assert_eq!(args.runtime_args, expected, "{line}");
        }
    }
}
