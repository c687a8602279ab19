//! Tier `runtime`: containers under runc, answered by the agent's binary. Needs root, runc and busybox-static;
//! `cargo xtask test --tier runtime` sees to the rest.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod activation;
mod callers;
mod churn;
mod command_line;
mod custom_agent;
mod demo;
mod handshake;
mod metrics;
mod shutdown;
mod socket;
