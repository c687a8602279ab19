//! Tier `runtime`: containers under runc, crun, podman and docker, answered by the agent's binary. Needs root, these
//! programs and busybox-static; `cargo xtask test --tier runtime` sees to all but the first.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod activation;
mod callers;
mod churn;
mod command_line;
mod containerfile;
mod custom_agent;
mod demo;
mod emulation;
mod handshake;
mod kubernetes;
mod metrics;
mod mounting;
mod mounting_alike;
mod mounting_attacks;
mod mounting_programs;
mod oci_runtime;
mod peer;
mod program;
mod recorded;
mod recorded_programs;
mod recording;
mod runtimes;
mod sandbox;
mod shutdown;
mod socket;
mod states;
mod too_strict;
mod user_namespaces;
