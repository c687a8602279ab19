//! Callers with a user namespace of their own.
#![allow(clippy::unwrap_used, dead_code)] // A failure ends the test; not every test uses all of this.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process in a user namespace of its own, where our user 100,000 is root, and one that keeps the namespace.
pub(crate) struct Inside {
    keeps: Child,
    caller: Child,
}

impl Inside {
    pub(crate) fn new(program: &[&str]) -> Self {
        let keeps = Command::new("unshare").args(["--user", "sleep", "60"]).spawn().unwrap();
        let ours = fs::read_link("/proc/self/ns/user").unwrap();
        let process = |entry: &str| format!("/proc/{}/{entry}", keeps.id());
        until(|| fs::read_link(process("ns/user")).is_ok_and(|link| link != ours));
        for map in ["uid_map", "gid_map"] {
            fs::write(process(map), "0 100000 65536\n").unwrap();
        }
        let caller = enter(&keeps, 0, program).spawn().unwrap();
        until(|| fs::read_to_string(format!("/proc/{}/comm", caller.id())).unwrap().trim() == program[0]);
        Self { keeps, caller }
    }

    /// A process in the namespace whose user has no number there.
    pub(crate) fn holder(&self) -> u32 {
        self.keeps.id()
    }

    /// Another process in the same user namespace.
    pub(crate) fn command(&self, user: u32, program: &[&str]) -> Command {
        enter(&self.keeps, user, program)
    }

    pub(crate) fn tid(&self) -> u32 {
        self.caller.id()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for child in [&mut self.caller, &mut self.keeps] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn enter(keeps: &Child, user: u32, program: &[&str]) -> Command {
    let mut enter = Command::new("nsenter");
    let (target, user) = (keeps.id().to_string(), user.to_string());
    enter.args(["--user", "--target", &target, "--setuid", &user, "--setgid", &user]);
    enter.args(program).stdin(Stdio::null());
    enter
}

pub(crate) fn until(holds: impl Fn() -> bool) {
    let held = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        holds()
    });
    assert!(held);
}
