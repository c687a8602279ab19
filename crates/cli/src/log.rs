use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, LogLevel};
use crate::config::ConfigError;

/// Sends the log to stderr. `RUST_LOG`, where set, says what is logged instead of `level`.
pub(crate) fn init(format: LogFormat, level: LogLevel) -> Result<(), ConfigError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).map_err(|source| ConfigError::LogFilter { directives, source })?
        }
        // Of an API server that is away, the client says so at each try, as an error; the watch says it once.
        _ => EnvFilter::new(match level {
            LogLevel::Error => "error,kube_client=off",
            LogLevel::Warn => "warn,kube_client=off",
            LogLevel::Info => "info,kube_client=off",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(colours()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Colours are for people at a terminal who have not asked for none (`NO_COLOR`).
fn colours() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
