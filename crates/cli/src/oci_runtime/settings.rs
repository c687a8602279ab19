use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::OciRuntimeArgs;
use crate::config::DEFAULT_SOCKET;

/// Read if it is there and no other file is named.
const DEFAULT_CONFIG: &str = "/etc/seccomp-agent/oci-runtime.yaml";
/// The runtime unless told otherwise.
const DEFAULT_RUNTIME: &str = "runc";
/// The largest configuration or profile; the engines' default profile has 20 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// What is added, and which runtime is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The runtime: a path, or a name to be looked for in PATH.
    pub(super) runtime: PathBuf,
    /// The agent's socket.
    pub(super) listener_path: String,
    /// What the resolver is told, if anything.
    pub(super) listener_metadata: Option<String>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    /// A file cannot be read.
    #[error("{path:?} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file is too large.
    #[error("{path:?} has more than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The configuration is none.
    #[error("the configuration {path:?} is wrong: {message}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Where, and what is expected there.
        message: String,
    },
    /// The profile is none.
    #[error("{path:?} is no seccomp profile: {source}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Config {
    runtime: Option<PathBuf>,
    profile: Option<PathBuf>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
}

/// What an engine drops of a profile.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    listener_path: Option<String>,
    listener_metadata: Option<String>,
}

impl Settings {
    /// A flag comes before the configuration, and that before the profile, which either may name.
    pub(super) fn load(args: &OciRuntimeArgs) -> Result<Self, SettingsError> {
        let config = match &args.config {
            Some(path) => Config::read(path)?,
            None if Path::new(DEFAULT_CONFIG).exists() => Config::read(Path::new(DEFAULT_CONFIG))?,
            None => Config::default(),
        };
        let profile = match args.profile.as_ref().or(config.profile.as_ref()) {
            Some(path) => Dropped::read(path)?,
            None => Dropped::default(),
        };
        let (path, metadata) = (args.listener_path.clone(), args.listener_metadata.clone());
        Ok(Self {
            runtime: args.runtime.clone().or(config.runtime).unwrap_or_else(|| DEFAULT_RUNTIME.into()),
            listener_path: path
                .or(config.listener_path)
                .or(profile.listener_path)
                .unwrap_or_else(|| DEFAULT_SOCKET.to_owned()),
            listener_metadata: metadata.or(config.listener_metadata).or(profile.listener_metadata),
        })
    }
}

impl Config {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = read(path)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error: serde_saphyr::Error| SettingsError::Config {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }
}

impl Dropped {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        serde_json::from_str(&read(path)?)
            .map_err(|source| SettingsError::Profile { path: path.to_owned(), source })
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(SettingsError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_comes_before_the_configuration_and_that_before_the_profile() {
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("profile.json");
        std::fs::write(&profile, r#"{"listenerPath":"/p","listenerMetadata":"profile","syscalls":[]}"#)
            .unwrap();
        let config = directory.path().join("config.yaml");
        let text = format!("profile: {}\nlistener-metadata: config\nruntime: crun\n", profile.display());
        std::fs::write(&config, text).unwrap();

        let mut args = OciRuntimeArgs { config: Some(config), ..OciRuntimeArgs::default() };
        let settings = Settings::load(&args).unwrap();
        assert_eq!((settings.listener_path.as_str(), settings.runtime), ("/p", "crun".into()));
        assert_eq!(settings.listener_metadata.as_deref(), Some("config"));

        args.listener_metadata = Some("flag".into());
        args.runtime = Some("/opt/runc".into());
        let settings = Settings::load(&args).unwrap();
        assert_eq!(
            (settings.listener_metadata.as_deref(), settings.runtime),
            (Some("flag"), "/opt/runc".into())
        );
    }

    #[test]
    fn a_file_that_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let wrong = directory.path().join("wrong");
        std::fs::write(&wrong, "listener-pth: /s\n").unwrap();
        for args in [
            OciRuntimeArgs { config: Some(wrong.clone()), ..OciRuntimeArgs::default() },
            OciRuntimeArgs { profile: Some(wrong), ..OciRuntimeArgs::default() },
            OciRuntimeArgs { config: Some("/nowhere/wrong".into()), ..OciRuntimeArgs::default() },
        ] {
            let error = Settings::load(&args).unwrap_err();
            assert!(error.to_string().contains("/wrong"), "{error}");
        }
    }
}
