//! `seccomp-agent policy`: what a policy says, without serving anybody.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use seccomp_agent_kuberesolver::{fetch, parse_manifest};
use seccomp_agent_policy::Policy;
use seccomp_agent_registry::{Container, Pod, Role, annotation};

use crate::args::OutputFormat;
use crate::output::print;
use crate::run::profile;

/// How files are called that have manifests.
const MANIFESTS: [&str; 3] = ["yaml", "yml", "json"];

/// The options of `policy`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 the policy is well, 1 the container could not be served, 2 usage or policy."
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say whether a policy is well, and if not, where it is not
    Check {
        /// The policy
        file: PathBuf,
    },
    /// Say which rule a container gets, which handlers, and why
    Explain(Box<ExplainArgs>),
}

/// A policy, and a container to be.
#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// The policy
    file: PathBuf,
    /// The container's id
    #[arg(long, default_value = "example")]
    id: String,
    /// The runtime that hands it over, such as runc
    #[arg(long)]
    runtime: Option<String>,
    /// An annotation of it; can be repeated
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// `listenerMetadata` of its profile: lines KEY=VALUE; can be repeated
    #[arg(long, value_name = "TEXT")]
    metadata: Vec<String>,
    /// Its seccomp profile, for the `listenerMetadata` in it
    #[arg(long, value_name = "FILE", conflicts_with = "metadata")]
    profile: Option<PathBuf>,
    /// The pid of its init
    #[arg(long, default_value_t = 1)]
    pid: u32,
    /// A pod that it is of: a manifest (YAML or JSON), or NAMESPACE/NAME for the API server
    #[arg(long, value_name = "FILE|NAMESPACE/NAME")]
    pod: Option<PathBuf>,
    /// Its name in the pod [default: the pod's only container]
    #[arg(long, value_name = "NAME", requires = "pod")]
    container: Option<String>,
    /// How to write the explanation
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// Runs a subcommand of `policy`.
pub(crate) fn policy(args: &PolicyArgs) -> anyhow::Result<()> {
    match &args.command {
        PolicyCommand::Check { file } => {
            let policy = Policy::read(file)?;
            let plural = if policy.rules() == 1 { "" } else { "s" };
            print(format!("{}: {} rule{plural}, all well\n", file.display(), policy.rules()))
        }
        PolicyCommand::Explain(args) => print(explain(args)? + "\n"),
    }
}

fn explain(args: &ExplainArgs) -> anyhow::Result<String> {
    let policy = Policy::read(&args.file)?;
    let mut container = Container::named(&args.id);
    container.runtime.clone_from(&args.runtime);
    container.annotations = args.annotations.iter().cloned().collect();
    container.metadata = match &args.profile {
        Some(profile) => profile::read(profile)?.listener_metadata.unwrap_or_default(),
        None => args.metadata.join("\n"),
    };
    (container.pid, container.init_pid) = (args.pid, args.pid);
    if let Some(named) = &args.pod {
        let pod = pod(named)?;
        let name = name_in(&pod, args.container.as_deref())?;
        container.annotations.entry(annotation::CONTAINER[0].to_owned()).or_insert(name);
        container.tell_pod(pod);
    }
    let explanation = policy.resolve(&container).context("the container could not be served")?.explanation;
    match args.output {
        OutputFormat::Text => Ok(explanation.to_string()),
        OutputFormat::Json => Ok(serde_json::to_string_pretty(&explanation)?),
    }
}

/// The pod of a manifest, or of the cluster.
fn pod(named: &Path) -> anyhow::Result<Pod> {
    match in_cluster(named) {
        Some((namespace, name)) if !named.exists() => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let pod = runtime.block_on(fetch(namespace, name));
            pod.with_context(|| format!("there is no file {}, and as a pod of the cluster", named.display()))
        }
        _ => {
            let text =
                std::fs::read_to_string(named).with_context(|| format!("reading {}", named.display()))?;
            parse_manifest(&text).with_context(|| named.display().to_string())
        }
    }
}

/// Namespace and name, unless it can only be a file.
fn in_cluster(named: &Path) -> Option<(&str, &str)> {
    let is_manifest =
        named.extension().is_some_and(|extension| MANIFESTS.iter().any(|one| extension == *one));
    let (namespace, name) = named.to_str().filter(|_| !is_manifest)?.split_once('/')?;
    // A DNS label, as namespaces are called.
    let is_label =
        namespace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    (is_label && !namespace.is_empty() && !name.contains('/')).then_some((namespace, name))
}

/// What the container is called that is meant.
fn name_in(pod: &Pod, said: Option<&str>) -> anyhow::Result<String> {
    let names = || pod.containers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match said {
        Some(name) if pod.containers.contains_key(name) => Ok(name.to_owned()),
        Some(name) => anyhow::bail!("the pod has no container {name:?}; there are {}", names()),
        None => {
            let mut regular = pod.containers.iter().filter(|(_, container)| container.role == Role::Regular);
            match (regular.next(), regular.next()) {
                (Some((name, _)), None) => Ok(name.clone()),
                _ => anyhow::bail!("which of its containers? --container says: {}", names()),
            }
        }
    }
}

fn annotation(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("an annotation is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
