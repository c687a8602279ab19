//! `seccomp-agent doctor`: what on this machine keeps the agent from working, and how to mend it.
//!
//! Nothing is changed. Each check looks at one thing and says what it has found; what is not there, such as a kubelet on
//! a machine without Kubernetes, is no fault.

mod confinement;
mod containerd;
mod kernel;
mod kubelet;
mod permissions;
mod runtimes;
mod socket;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::OutputFormat;
use crate::config::DEFAULT_SOCKET;
use crate::output::print;

/// More than this of a file is not looked at: no configuration of a node has as much.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Something is wrong.
const SICK: u8 = 1;

/// The options of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Tell what on this machine keeps the agent from working, and how to mend it\n\n\
    Looks at the kernel, at what this process may do, at the agent's socket, the container runtimes, containerd's and the \
    kubelet's configuration and the kubelet's profiles. Changes nothing. The runtimes and what starts them are asked for \
    their versions by executing them. Run it as the agent is run: as root, or in the agent's pod.",
    after_help = "Exit status: 0 nothing is wrong, 1 something is, 2 usage."
)]
pub(crate) struct DoctorArgs {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where the machine's files are, if not here: the place where its root directory is mounted. The machine's
    /// runtimes are executed there
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The kubelet's directory of profiles, as the machine calls it
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/seccomp")]
    kubelet_seccomp: PathBuf,
    /// How to write what was found
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// What a check has found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    state: State,
    found: String,
    /// What to do about it, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// It may be as it should be, and it costs something.
    Note,
    Wrong,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), mend: None }
    }

    fn note(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Note, found: found.into(), mend: Some(mend.into()) }
    }

    fn wrong(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Wrong, found: found.into(), mend: Some(mend.into()) }
    }
}

/// Shows what was found, and returns the exit status.
pub(crate) fn doctor(args: &DoctorArgs) -> anyhow::Result<u8> {
    let node = Node { root: args.root.clone() };
    let mut findings = kernel::findings();
    findings.extend(permissions::findings());
    findings.extend(confinement::findings());
    findings.extend(socket::findings(&args.socket));
    findings.extend(runtimes::findings(&node));
    findings.extend(containerd::findings(&node));
    findings.extend(kubelet::findings(&node, &args.kubelet_seccomp, &args.socket));
    match args.output {
        OutputFormat::Json => print(serde_json::to_string_pretty(&findings)? + "\n")?,
        OutputFormat::Text => print(findings.iter().map(text).collect::<String>())?,
    }
    let is_sick = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(if is_sick { SICK } else { 0 })
}

fn text(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok",
        State::Note => "note",
        State::Wrong => "WRONG",
    };
    let mut text = format!("{state:<6} {:<12} {}", finding.check, finding.found);
    if let Some(mend) = &finding.mend {
        text.extend(["\n                    -> ", mend]);
    }
    text + "\n"
}

/// The files of the machine.
struct Node {
    root: PathBuf,
}

impl Node {
    /// Where a path of the machine is here.
    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What is in a file of the machine, if it can be read.
    fn read(&self, path: &str) -> Option<String> {
        read(&self.path(Path::new(path)))
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}
