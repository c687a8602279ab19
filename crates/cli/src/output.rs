//! What a subcommand says on standard output, which may be a full disk, or a pipe that nobody reads any more.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes to standard output.
pub(crate) fn print(text: impl Display) -> anyhow::Result<()> {
    write(io::stdout().lock(), text)
}

/// Writes to what was standard output. Whoever closes a pipe early, as `head` does, has read enough.
pub(crate) fn write(mut output: impl Write, text: impl Display) -> anyhow::Result<()> {
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        write(writer, "text\n").unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let message = format!("{:#}", write(full, "text\n").unwrap_err());
        assert!(message.contains("standard output") && message.contains("No space"), "{message}");
    }
}
