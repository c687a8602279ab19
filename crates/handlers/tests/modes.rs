//! Modes changed with a privilege, and by grant of it. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::os::fd::AsFd;

use nix::sys::stat::FchmodatFlags;
use rustix::fs::{AtFlags, CWD, Mode, chmodat, fchmod};
use rustix::io::Errno;
use seccomp_agent_handlers::Modes;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::differential::{Open, compare, compare_inside, from_nix};

const NAMES: [&str; 4] = ["chmod", "fchmod", "fchmodat", "fchmodat2"];

fn granting(grant: Capabilities) -> Registry {
    let mut registry = Registry::new();
    for name in NAMES {
        registry.on(name, Modes::granting(grant)).unwrap();
    }
    registry
}

fn calls(open: &Open) -> Vec<(String, Result<(), Errno>)> {
    let mut said = Vec::new();
    let modes = [0o4755, 0o2777, 0o1700, 0, 0o777];
    for path in [
        "own",
        "file",
        "suid",
        "real",
        "real/",
        "own/",
        "middle",
        "absolute",
        "loop",
        "dangling",
        "",
        "nothing",
        "private",
        "private/x",
        "friends",
        "sticky/other",
        "sticky/link",
        "setgid",
        "noexec/x",
        "../w/own",
        "/w/own",
        ".",
        "..",
    ] {
        for mode in modes {
            let changed = chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty());
            said.push((format!("chmodat {path} {mode:o}"), changed));
            let mode = nix::sys::stat::Mode::from_bits_retain(mode);
            let link = nix::sys::stat::fchmodat(CWD, path, mode, FchmodatFlags::NoFollowSymlink);
            said.push((format!("not following {path} {mode:?}"), from_nix(link)));
        }
    }
    let mode = Mode::from_raw_mode(0o6711);
    for (name, fd) in [
        ("folder", open.folder.as_fd()),
        ("file", open.file.as_fd()),
        ("other file", open.other_file.as_fd()),
        ("by path", open.by_path.as_fd()),
        ("pipe", open.pipe.as_fd()),
    ] {
        said.push((format!("fchmod {name}"), fchmod(fd, mode)));
        said.push((format!("in {name}"), chmodat(fd, "x", mode, AtFlags::empty())));
    }
    said
}

#[test]
fn a_grant_does_what_the_capability_would() {
    for grant in [Capabilities::empty(), Capabilities::FOWNER, Capabilities::FOWNER | Capabilities::FSETID] {
        compare(grant, || granting(grant), calls);
    }
}

#[test]
fn nothing_but_the_two_is_granted() {
    compare(Capabilities::empty(), || granting(Capabilities::DAC_OVERRIDE | Capabilities::SYS_ADMIN), calls);
}

#[test]
fn in_a_user_namespace_a_grant_does_what_the_capability_would_there() {
    let test = "in_a_user_namespace_a_grant_does_what_the_capability_would_there";
    let grant = Capabilities::FOWNER | Capabilities::FSETID;
    compare_inside(test, grant, || granting(grant), calls);
}
