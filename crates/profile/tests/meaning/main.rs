//! That a profile, its normal form, its filter and the kernel mean the same.
#![allow(clippy::unwrap_used, reason = "in the helpers too, a failure is to end the test")]

mod default_profile;
mod equivalence;
mod json;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod kernel;
mod libseccomp;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine;
mod resolve;
mod strategy;
