//! What is left of a procfs that is mounted step by step when the container is killed on the way. Needs root and a C
//! compiler. Alone in its process: it looks at all that is open there.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;

use seccomp_agent_notify::Features;
use support::mount_api::{granted, program};

/// What the agent has open, without numbers: of the task that called last, the directory stays open.
fn open_files() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut kinds: Vec<_> = links
        .map(|link| {
            let link = link.to_string_lossy().replace(|letter: char| letter.is_ascii_digit(), "");
            link.trim_end_matches(" (deleted)").to_owned()
        })
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn a_container_that_is_killed_at_any_step_leaves_nothing() {
    let _ = program("k5", Some(granted()), Features::probe(), 0);
    let before = open_files();
    let steps = ["open: fine", "create: fine", "mount: fine", "ro: fine", "move: fine"];
    for done in 0..=steps.len() {
        // It looks itself whether anything is mounted on the host.
        let said = program(&format!("k{done}"), Some(granted()), Features::probe(), 0);
        assert_eq!(said.lines().collect::<Vec<_>>(), steps[..done]);
        assert_eq!(open_files(), before, "after {done} steps");
    }
}
