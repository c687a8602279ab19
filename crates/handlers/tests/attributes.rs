//! Extended attributes changed with a privilege, and by grant of it. Needs root, and a `/tmp` with attributes.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fremovexattr, fsetxattr, lremovexattr, lsetxattr, removexattr, setxattr};
use rustix::io::Errno;
use seccomp_agent_handlers::Attributes;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::differential::{Open, compare, compare_inside};

fn granting(prefixes: &[&str]) -> Registry {
    let mut registry = Registry::new();
    for name in ["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"] {
        registry.on(name, Attributes::granting(prefixes.iter().copied())).unwrap();
    }
    registry
}

/// Version 2 capabilities of a program: `CAP_NET_RAW`, effective.
const CAPABILITIES: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn calls(open: &Open) -> Vec<(String, Result<(), Errno>)> {
    let mut said = Vec::new();
    let long = format!("user.{}", "n".repeat(250));
    let too_long = format!("user.{}", "n".repeat(251));
    for name in [
        "trusted.overlay.opaque",
        "trusted.other",
        "security.capability",
        "user.mine",
        "nonsense",
        "",
        "system.nothing",
        &long,
        &too_long,
    ] {
        let value: &[u8] = if name == "security.capability" { CAPABILITIES } else { b"value" };
        for path in
            ["own", "file", "real", "dangling", "middle", "private/x", "sticky/link", "", "nothing", "own/"]
        {
            let (none, create, replace) = (XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE);
            let mut say = |what: &str, outcome| said.push((format!("{what} {name} {path}"), outcome));
            say("replace", setxattr(path, name, value, replace));
            say("create", setxattr(path, name, value, create));
            say("create", lsetxattr(path, name, value, create));
            say("set", lsetxattr(path, name, b"", none));
            say("bad flags", setxattr(path, name, value, XattrFlags::from_bits_retain(4)));
            say("remove", lremovexattr(path, name));
            say("remove", removexattr(path, name));
        }
        for (what, fd) in [
            ("folder", open.folder.as_fd()),
            ("file", open.file.as_fd()),
            ("other file", open.other_file.as_fd()),
            ("by path", open.by_path.as_fd()),
        ] {
            said.push((format!("{name} {what}"), fsetxattr(fd, name, value, XattrFlags::empty())));
            said.push((format!("remove {name} {what}"), fremovexattr(fd, name)));
        }
    }
    said.push(("large".into(), setxattr("own", "user.large", &vec![0; (64 << 10) + 1], XattrFlags::empty())));
    said
}

#[test]
fn a_grant_of_all_names_does_what_the_capabilities_would() {
    let privilege = Capabilities::SYS_ADMIN | Capabilities::SETFCAP;
    compare(privilege, || granting(&["trusted.", "security."]), calls);
}

#[test]
fn what_is_not_listed_is_changed_with_the_callers_own_rights() {
    compare(Capabilities::empty(), || granting(&["trusted.nothing", "user."]), calls);
}

#[test]
fn in_a_user_namespace_a_grant_does_what_the_capability_would_there() {
    let test = "in_a_user_namespace_a_grant_does_what_the_capability_would_there";
    compare_inside(test, Capabilities::SETFCAP, || granting(&["security.capability"]), calls);
}
