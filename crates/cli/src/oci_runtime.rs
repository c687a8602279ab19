//! `seccomp-agent oci-runtime`: stands between an engine that drops `listenerPath`, as docker does, and its runtime.
//!
//! The engine calls it as it would call the runtime. At `create` and `run` it adds to the bundle's `config.json`
//! what the engine has dropped; then, as for every other command, it becomes the runtime, with the arguments that
//! it was given.

mod bundle;
mod invocation;
mod settings;

use std::convert::Infallible;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::args::OciRuntimeArgs;

use self::invocation::Invocation;
use self::settings::{Settings, SettingsError};

/// Why the runtime was not called.
#[derive(Debug, thiserror::Error)]
enum OciRuntimeError {
    /// It is unknown what is to be added.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The container is not to be started without what was to be added.
    #[error(transparent)]
    Bundle(#[from] bundle::BundleError),
    /// The runtime cannot be executed.
    #[error("the runtime {runtime:?} cannot be executed: {source}")]
    Execute {
        /// Which.
        runtime: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// Becomes the runtime: returns only if that fails.
pub(crate) fn run(args: &OciRuntimeArgs) -> anyhow::Result<()> {
    let invocation = Invocation::parse(&args.runtime_args);
    let Err(error) = become_runtime(args, &invocation);
    tell_engine(&error, &invocation);
    Err(error.into())
}

fn become_runtime(args: &OciRuntimeArgs, invocation: &Invocation<'_>) -> Result<Infallible, OciRuntimeError> {
    let settings = Settings::load(args)?;
    if let Some(bundle) = invocation.new_bundle {
        bundle::add_listener(bundle, &settings)?;
    }
    let source = Command::new(&settings.runtime).args(&args.runtime_args).exec();
    Err(OciRuntimeError::Execute { runtime: settings.runtime, source })
}

/// Writes the error where the engine looks for those of its runtime, so that whoever starts the container sees it.
fn tell_engine(error: &OciRuntimeError, invocation: &Invocation<'_>) {
    let Some(log) = invocation.log else { return };
    let message = serde_json::Value::from(error.to_string());
    let line = if invocation.log_is_json {
        format!("{{\"level\":\"error\",\"msg\":{message}}}\n")
    } else {
        format!("level=error msg={message}\n")
    };
    // It also goes to stderr, and there is nobody else to tell.
    let _ = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
}
