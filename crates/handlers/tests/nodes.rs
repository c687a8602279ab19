//! Nodes made with a privilege, and by grant of it. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::os::fd::AsFd;

use nix::sys::stat::SFlag;
use rustix::io::Errno;
use seccomp_agent_handlers::{Devices, Nodes, Numbers};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::differential::{Open, compare, compare_inside, from_nix};

fn granting(devices: Vec<Devices>) -> Registry {
    let mut registry = Registry::new();
    registry.on("mknod", Nodes::granting(devices.clone())).unwrap();
    registry.on("mknodat", Nodes::granting(devices)).unwrap();
    registry
}

fn of(is_block: bool, major: Numbers, minor: Numbers) -> Devices {
    Devices { is_block, major, minor }
}

fn one(number: u32) -> Numbers {
    [number..=number].into_iter().collect()
}

/// Type bits, mode bits, device.
const NODES: [(u32, u32, u64); 10] = [
    (libc_type::CHR, 0o666, 0x103),
    (libc_type::BLK, 0o640, 0x800),
    (libc_type::FIFO, 0o4777, 0),
    (libc_type::SOCK, 0o700, 0x103),
    (libc_type::REG, 0o7777, 0x103),
    (0, 0o644, 0),
    (libc_type::DIR, 0o755, 0),
    (libc_type::LNK, 0o777, 0),
    (libc_type::CHR, 0, 0),
    (libc_type::CHR, 0o600, 0x12_3456),
];

mod libc_type {
    pub(crate) const FIFO: u32 = 0o010_000;
    pub(crate) const CHR: u32 = 0o020_000;
    pub(crate) const DIR: u32 = 0o040_000;
    pub(crate) const BLK: u32 = 0o060_000;
    pub(crate) const REG: u32 = 0o100_000;
    pub(crate) const LNK: u32 = 0o120_000;
    pub(crate) const SOCK: u32 = 0o140_000;
}

fn make(at: impl AsFd, path: &str, node: usize) -> (String, Result<(), Errno>) {
    let (kind, mode, device) = NODES[node];
    let outcome = nix::sys::stat::mknodat(
        at,
        path,
        SFlag::from_bits_retain(kind),
        nix::sys::stat::Mode::from_bits_retain(mode),
        device,
    );
    (format!("{path} {kind:o} {mode:o} {device:#x}"), from_nix(outcome))
}

fn calls(open: &Open) -> Vec<(String, Result<(), Errno>)> {
    let mut said = Vec::new();
    for (node, _) in NODES.iter().enumerate() {
        for place in [
            "plain",
            "real/in",
            "setgid/in",
            "acl/in",
            "sticky/in",
            "sticky/link/in",
            "friends/in",
            "private/in",
            "readonly/in",
            "mine/in",
            "noexec/in",
            "nothing/in",
            "absolute/in",
            "loop/in",
        ] {
            said.push(make(rustix::fs::CWD, &format!("{place}-{node}"), node));
        }
        for path in ["", ".", "..", "/", "file", "dangling", "middle", "new/", "file/", "loop"] {
            said.push(make(rustix::fs::CWD, path, node));
        }
        said.push(make(&open.folder, &format!("by-descriptor-{node}"), node));
        said.push(make(&open.file, &format!("by-descriptor-{node}"), node));
        said.push(make(&open.folder, "", node));
    }
    said
}

#[test]
fn a_grant_of_all_devices_does_what_the_capability_would() {
    let all = || vec![of(true, Numbers::all(), Numbers::all()), of(false, Numbers::all(), Numbers::all())];
    compare(Capabilities::MKNOD, || granting(all()), calls);
}

#[test]
fn what_is_not_listed_is_made_with_the_callers_own_rights() {
    let others = || vec![of(false, one(1), one(4)), of(true, one(1), one(3))];
    compare(Capabilities::empty(), || granting(others()), calls);
}

#[test]
fn one_listed_device_is_no_other() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    let user = support::tree::kinds().into_iter().find(|kind| kind.name == "user").unwrap();
    let here = root.path().to_owned();
    let said = support::run(
        Some(granting(vec![of(false, one(1), one(3))])),
        move || user.become_it(&here),
        || {
            (0..NODES.len())
                .map(|node| make(rustix::fs::CWD, &format!("n{node}"), node).1)
                .collect::<Vec<_>>()
        },
    );
    let fine = said.iter().map(Result::is_ok).collect::<Vec<_>>();
    assert_eq!(fine, [true, false, true, true, true, true, false, false, true, false], "{said:?}");
}

#[test]
fn in_a_user_namespace_nodes_are_those_that_the_kernel_makes_there() {
    let test = "in_a_user_namespace_nodes_are_those_that_the_kernel_makes_there";
    // So natively it makes no difference, and nothing is listed.
    compare_inside(test, Capabilities::empty(), || granting(vec![]), calls);
}
