//! The test bed: the agent as a program, beside a real container runtime.
//!
//! A test makes a [`Bed`], a private directory in which everything lives: the agent's socket, the runtime's
//! state, the bundles. In it a [`Daemon`] is the agent's binary, serving that socket; a [`Bundle`] is a
//! container to be, with busybox and the probe in its root filesystem and a seccomp profile that sends its
//! listener to the socket; and [`Runc`] runs bundles, by runc or crun. The engines [`Podman`] and [`Docker`]
//! run the same root filesystem. All of them clean up after themselves when dropped, also
//! when a test fails half-way.
//!
//! ```no_run
//! use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, profile};
//!
//! let bed = Bed::new()?;
//! let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"])?;
//! let runc = Runc::new(&bed)?;
//! let bundle = Bundle::new(&bed)?
//!     .seccomp(profile::notifying(&["mkdir", "mkdirat"], daemon.socket()))
//!     .command(&["mkdir", "/abc"]);
//! let ended = runc.run(&runc.unused_id("mkdir"), &bundle)?;
//! assert!(ended.success(), "{ended}");
//! # anyhow::Ok(())
//! ```
//!
//! The binaries are taken from the target directory; `cargo xtask test --tier runtime` builds them first.

pub mod binaries;
pub mod profile;

mod bed;
mod bundle;
mod capture;
mod daemon;
mod docker;
mod ended;
mod metrics;
mod podman;
mod process;
mod runc;

pub use bed::{Bed, eventually};
pub use bundle::Bundle;
pub use capture::Capture;
pub use daemon::{Daemon, Serve};
pub use docker::Docker;
pub use ended::{Ended, run_for};
pub use metrics::Metrics;
pub use podman::Podman;
pub use process::{Usage, children};
pub use runc::{Runc, WITHOUT_UNIFIED_CGROUPS};
