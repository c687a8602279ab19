//! The examples are the files beside this crate's manifest; see `docs/custom-agent.md`.
