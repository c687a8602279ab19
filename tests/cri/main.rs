//! Tier `cri`: containerd as Kubernetes drives it, through the Container Runtime Interface, answered by the agent's
//! binary. Needs root, containerd, runc and busybox-static; `cargo xtask test --tier cri` sees to all but the first.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod client;
mod containerd;
mod image;
mod pod;
