use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seccomp_agent_agent::Fallback;
use serde::Deserialize;

use crate::args::{LogFormat, LogLevel, ResolverKind, ServeArgs, Switch};
use crate::metrics::Address;

/// Where runtimes find the agent unless told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/seccomp-agent.socket";
/// Where recordings are kept unless told otherwise.
pub(crate) const DEFAULT_RECORDINGS: &str = "/var/lib/seccomp-agent/recordings";
/// The largest configuration file; a larger one is something else.
const MAX_CONFIG: u64 = 1024 * 1024;
/// How long the resolver may take: the container's init is blocked meanwhile.
const DEFAULT_RESOLVE_DEADLINE: Duration = Duration::from_secs(10);

/// The settings of `serve`, from the file and the command line together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) socket: PathBuf,
    /// How to choose handlers.
    pub(crate) resolver: ResolverKind,
    /// What to grant; there if the resolver is `policy`, and only if it is that or `kubernetes`.
    pub(crate) policy: Option<PathBuf>,
    /// What the cluster calls this node, if that is said.
    pub(crate) node_name: Option<String>,
    /// How to log.
    pub(crate) log_format: LogFormat,
    /// What to log.
    pub(crate) log_level: LogLevel,
    /// Where to serve metrics, if anywhere.
    pub(crate) metrics_bind_address: Option<Address>,
    /// Whether the agent confines its own threads.
    pub(crate) sandbox: Switch,
    /// Threads that answer calls.
    pub(crate) workers: Option<u32>,
    /// What a container gets that could not be resolved.
    pub(crate) fallback: Fallback,
    /// How long resolving may take.
    pub(crate) resolve_deadline: Duration,
    /// Where Falco's plugin listens, if that is said.
    pub(crate) falco_socket: Option<PathBuf>,
    /// Where recordings are kept, if that is said.
    pub(crate) recordings: Option<PathBuf>,
    /// Where the profiles are written under which containers are recorded at their next start, if anywhere.
    pub(crate) recording_profiles: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path:?} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// `RUST_LOG` is no log filter.
    #[error("RUST_LOG={directives:?} is no log filter: {source}")]
    LogFilter {
        /// What it is.
        directives: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The resolver and the policy do not go together.
    #[error(
        "the resolver `policy` takes a policy (--policy FILE), and a policy takes the resolver `policy` or `kubernetes`"
    )]
    Policy,
    /// The file is no configuration.
    #[error("the configuration {path:?} is wrong: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what is expected there.
        message: String,
    },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct File {
    socket: Option<PathBuf>,
    resolver: Option<ResolverKind>,
    policy: Option<PathBuf>,
    node_name: Option<String>,
    log_format: Option<LogFormat>,
    log_level: Option<LogLevel>,
    metrics_bind_address: Option<Address>,
    sandbox: Option<Switch>,
    workers: Option<Workers>,
    on_resolve_failure: Option<OnResolveFailure>,
    resolve_deadline_seconds: Option<Seconds>,
    falco_socket: Option<PathBuf>,
    recordings: Option<PathBuf>,
    recording_profiles: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnResolveFailure {
    Continue,
    Refuse,
}

/// A number of threads that makes sense.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
struct Workers(u32);

/// A deadline that makes sense.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
struct Seconds(u32);

impl TryFrom<u32> for Workers {
    type Error = &'static str;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        if (2..=64).contains(&count) { Ok(Self(count)) } else { Err("workers must be from 2 to 64") }
    }
}

impl TryFrom<u32> for Seconds {
    type Error = &'static str;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        if (1..=300).contains(&count) {
            Ok(Self(count))
        } else {
            Err("resolve-deadline-seconds must be from 1 to 300")
        }
    }
}

impl Config {
    /// Reads the file that `args` names, if any; what `args` say themselves comes first.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map_or_else(|| Ok(File::default()), File::read)?;
        // Who names another resolver does not want the file's policy.
        let takes_policy = |resolver| matches!(resolver, ResolverKind::Policy | ResolverKind::Kubernetes);
        let wants_policy = args.resolver.is_none_or(takes_policy);
        let policy = args.policy.clone().or(file.policy.filter(|_| wants_policy));
        let default = if policy.is_some() { ResolverKind::Policy } else { ResolverKind::None };
        let resolver = args.resolver.or(file.resolver).unwrap_or(default);
        if (policy.is_some() && !takes_policy(resolver))
            || (policy.is_none() && resolver == ResolverKind::Policy)
        {
            return Err(ConfigError::Policy);
        }
        Ok(Self {
            socket: args.socket.clone().or(file.socket).unwrap_or_else(|| DEFAULT_SOCKET.into()),
            resolver,
            policy,
            node_name: args.node_name.clone().or(file.node_name),
            log_format: args.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            log_level: args.log_level.or(file.log_level).unwrap_or(LogLevel::Info),
            metrics_bind_address: args.metrics_bind_address.or(file.metrics_bind_address),
            sandbox: args.sandbox.or(file.sandbox).unwrap_or(Switch::On),
            workers: file.workers.map(|workers| workers.0),
            fallback: match file.on_resolve_failure {
                Some(OnResolveFailure::Continue) => Fallback::Continue,
                Some(OnResolveFailure::Refuse) | None => Fallback::Refuse,
            },
            resolve_deadline: file
                .resolve_deadline_seconds
                .map_or(DEFAULT_RESOLVE_DEADLINE, |seconds| Duration::from_secs(u64::from(seconds.0))),
            falco_socket: file.falco_socket,
            recordings: args.recordings.clone().or(file.recordings),
            recording_profiles: args.recording_profiles.clone().or(file.recording_profiles),
        })
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        // Read, not asked for: a device or a pipe has no size.
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_CONFIG + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_CONFIG {
            return Err(failed(std::io::Error::other(format!("it has more than {MAX_CONFIG} bytes"))));
        }
        Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.to_owned(), message })
    }

    /// The reader's own budget bounds nesting and what aliases expand to.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_before_the_file_and_the_file_before_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yaml");
        std::fs::write(&path, "socket: /file.socket\nlog-level: debug\nworkers: 3\nsandbox: off\n").unwrap();
        let args =
            ServeArgs { config: Some(path), socket: Some("/args.socket".into()), ..ServeArgs::default() };
        let config = Config::load(&args).unwrap();
        assert_eq!(config.socket, Path::new("/args.socket"));
        assert_eq!((config.log_level, config.log_format), (LogLevel::Debug, LogFormat::Text));
        assert_eq!((config.workers, config.fallback), (Some(3), Fallback::Refuse));
        assert_eq!(config.sandbox, Switch::Off);
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let message = File::parse("socket: /s\nlog-levle: debug\n").unwrap_err();
        assert!(message.contains("log-levle") && message.contains("line 2"), "{message}");
    }

    #[test]
    fn a_value_out_of_range_says_what_is_in_range() {
        let message = File::parse("workers: 0\n").unwrap_err();
        assert!(message.contains("from 2 to 64"), "{message}");
    }

    #[test]
    fn an_endless_file_is_read_up_to_the_limit() {
        let args = ServeArgs { config: Some("/dev/zero".into()), ..ServeArgs::default() };
        assert!(Config::load(&args).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn aliases_and_nesting_are_bounded() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            bomb.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
        }
        let begin = std::time::Instant::now();
        for text in [
            bomb.clone(),
            bomb + "socket: *a29\n",
            format!("socket: {}{}\n", "[".repeat(400_000), "]".repeat(400_000)),
            "- ".repeat(400_000),
            "? ".repeat(400_000),
            "{a: ".repeat(200_000),
        ] {
            assert!(File::parse(&text).is_err());
        }
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[test]
    fn no_odd_file_breaks_the_reader() {
        let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configurations");
        let files = std::fs::read_dir(odd).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        assert!(texts.filter(|text| File::parse(text).is_ok()).count() >= 1);
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert!(File::parse("\n# nothing\n").is_ok_and(|file| file.socket.is_none()));
    }

    #[test]
    fn a_policy_and_its_resolver_go_together() {
        let args = |policy: Option<&str>, resolver| ServeArgs {
            policy: policy.map(PathBuf::from),
            resolver,
            ..ServeArgs::default()
        };
        let resolver = |args| Config::load(&args).map(|config| config.resolver).ok();
        assert_eq!(resolver(args(Some("/p.yaml"), None)), Some(ResolverKind::Policy));
        assert_eq!(resolver(args(None, None)), Some(ResolverKind::None));
        assert_eq!(resolver(args(None, Some(ResolverKind::Policy))), None);
        assert_eq!(resolver(args(Some("/p.yaml"), Some(ResolverKind::DemoBasic))), None);
        for policy in [Some("/p.yaml"), None] {
            let kubernetes = Some(ResolverKind::Kubernetes);
            assert_eq!(resolver(args(policy, kubernetes)), kubernetes);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let args = ServeArgs { config: Some("/does/not/exist".into()), ..ServeArgs::default() };
        assert!(Config::load(&args).unwrap_err().to_string().contains("/does/not/exist"));
    }
}
