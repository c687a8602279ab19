//! The configuration file of `seccomp-agent serve`.
#![no_main]
#![allow(dead_code)] // Both modules are a binary's; this is a part of them.

#[path = "../../crates/cli/src/args.rs"]
mod args;
#[path = "../../crates/cli/src/config.rs"]
mod config;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = config::File::parse(text);
});
