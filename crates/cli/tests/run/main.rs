//! `seccomp-agent run`, as those see it who type it. Needs a kernel with user namespaces, or root.

// What fails here is to end the test.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod agent;
mod filter;
mod isolation;
mod lifetime;
mod record;
mod status;
mod support;
mod terminal;
mod unprivileged;
mod verify;
