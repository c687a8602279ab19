//! A Kubernetes API server that knows pods only, and can fail in the ways that real ones do.
//!
//! A [`Cluster`] is what etcd keeps; a [`Server`] tells of it until it is dropped, and another one can take its place.
//! What goes wrong in here ends the test.

#![allow(clippy::unwrap_used)]
#![allow(clippy::missing_panics_doc)]

mod cluster;
mod kubeconfig;
mod server;
mod tls;

pub use cluster::{Cluster, Fault, NODE, pod};
pub use kubeconfig::kubeconfig;
pub use server::Server;
pub use tls::Authority;
