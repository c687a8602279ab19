//! That a profile, its normal form, its filter and the kernel mean the same.
#![allow(clippy::unwrap_used, reason = "in the helpers too, a failure is to end the test")]

mod equivalence;
mod json;
mod kernel;
mod strategy;
