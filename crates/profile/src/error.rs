use crate::json::MAX_PROFILE_BYTES;
use seccomp_agent_syscall::nearest;
use serde_path_to_error::Path;

/// Why bytes are not a profile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Larger than any profile.
    #[error("a profile of {size} bytes is above the limit of {MAX_PROFILE_BYTES} bytes")]
    TooLarge {
        /// How large, in bytes.
        size: usize,
    },
    /// Not JSON.
    #[error("line {line}, column {column}: not JSON: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// JSON, but not a profile. Line and column are where reading ended: at the value, or behind the object, that is
    /// wrong.
    #[error("line {line}, column {column}: {path}: {message}")]
    Content {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// The field, such as `syscalls[3].args[0].op`.
        path: String,
        /// What is wrong, and what was probably meant.
        message: String,
    },
    /// The configuration of a container that runs without a filter.
    #[error("the container configuration has no linux.seccomp: its container runs without a filter")]
    NoProfile,
}

impl ParseError {
    pub(crate) fn at(path: &Path, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = without_position(error);
        if !error.is_data() {
            return ParseError::Syntax { line, column, message };
        }
        let path = match path.to_string() {
            path if path == "." => "the profile".to_owned(),
            path => path,
        };
        ParseError::Content { line, column, path, message: with_suggestion(message) }
    }
}

/// The message without the position that `serde_json` appends.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

/// serde names, in backquotes, what it found and all that it expected. Where one of those is near, only that one is of
/// interest.
fn with_suggestion(message: String) -> String {
    if !message.starts_with("unknown field `") && !message.starts_with("unknown variant `") {
        return message;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(found) = quoted.next() else { return message };
    match nearest(found, quoted) {
        Some(meant) => format!("unknown name `{found}`, did you mean `{meant}`?"),
        None => message.replacen("unknown variant", "unknown name", 1),
    }
}
