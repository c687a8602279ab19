//! Peers that hand over nothing, rubbish, or too much. No privilege needed.
//!
//! Whatever a peer does: its container gets ENOSYS or is served, containers that are served already and such as
//! come meanwhile are not held up, no descriptor stays behind, and one line of log and one metric tell of it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // What fails here is the test.

#[path = "../container/mod.rs"]
mod container;

mod crowd;
mod descriptors;
mod message;
mod resolvers;
mod stage;
