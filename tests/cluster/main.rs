//! Tier `cluster`: pods of a real cluster of one node, with the agent deployed in it as `deploy/` says. Needs root, Go, and
//! a quarter of an hour to build Kubernetes once; `cargo xtask test --tier cluster` builds and starts the node.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod agent;
mod cluster;
mod examples;
mod faults;
mod manifests;
mod pod;
mod policies;
mod recording;
mod walk_through;
