use std::fmt;

use rustix::io::Errno;

use crate::error::OWN_FAILURE;
use crate::plan::Report;

/// A step of the container's start that failed.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// Of ours.
    pub(super) fn new(what: impl fmt::Display, cause: &dyn fmt::Display) -> Self {
        Self::with_status(OWN_FAILURE, what, cause)
    }

    /// With one of the exit statuses of `env(1)`.
    pub(super) fn with_status(status: u8, what: impl fmt::Display, cause: &dyn fmt::Display) -> Self {
        Self { status, message: format!("{what} failed: {cause}") }
    }

    pub(super) fn report(&self) -> Report {
        Report::Failed { status: self.status, message: self.message.clone() }
    }
}

/// Names the step that failed.
pub(super) fn step(what: impl fmt::Display) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::new(what, &errno)
}
