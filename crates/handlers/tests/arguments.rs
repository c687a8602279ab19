//! Pointers, directory arguments and flags of all kinds, with the kernel's errors and for it. Needs root and a C
//! compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::process::Command;

use rustix::mount::{MountFlags, mount};
use seccomp_agent_registry::Registry;
use support::differential::assert_same;
use support::inside::{Keeps, give};
use support::program::compile;
use support::tree::{Kind, build, kinds, listing};

fn outcome(kind: &Kind, registry: Option<Registry>) -> (String, impl PartialEq + std::fmt::Debug + use<>) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let program = compile("arguments", root.path());
    let (here, who) = (root.path().to_owned(), kind.clone());
    let said = support::run(
        registry,
        move || {
            support::unshare_mounts();
            std::fs::create_dir(here.join("w/other")).unwrap();
            mount("other", here.join("w/other"), "tmpfs", MountFlags::empty(), c"mode=777").unwrap();
            who.become_it(&here);
        },
        move || String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap(),
    );
    (said, listing(root.path()))
}

/// [`outcome`] for the root of a user namespace of its own.
fn outcome_inside(registry: Option<Registry>) -> (String, impl PartialEq + std::fmt::Debug + use<>) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    std::fs::create_dir(root.path().join("w/other")).unwrap();
    give(root.path());
    let (program, here) = (compile("arguments", root.path()), root.path().join("w"));
    let said = support::run(
        registry,
        move || {
            support::unshare_mounts();
            rustix::process::chdir(here).unwrap();
            mount("other", "other", "tmpfs", MountFlags::empty(), c"mode=777").unwrap();
        },
        move || {
            let keeps = Keeps::new();
            String::from_utf8(keeps.enter().arg(program).output().unwrap().stdout).unwrap()
        },
    );
    (said, listing(root.path()))
}

#[test]
fn every_argument_is_taken_so_in_a_user_namespace() {
    let (native, native_tree) = outcome_inside(None);
    let (emulated, emulated_tree) = outcome_inside(Some(support::emulations()));
    let lines = |said: &str| said.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_same("root", &lines(&native), &lines(&emulated));
    assert!(native.lines().count() > 1000, "{native}");
    assert_eq!(native_tree, emulated_tree);
}

#[test]
fn every_argument_is_taken_as_the_kernel_takes_it() {
    for kind in kinds().into_iter().filter(|kind| ["root", "user"].contains(&kind.name)) {
        let (native, native_tree) = outcome(&kind, None);
        let (emulated, emulated_tree) = outcome(&kind, Some(support::emulations()));
        for (native, emulated) in native.lines().zip(emulated.lines()) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        assert!(native.lines().count() > 1000, "{native}");
        assert_eq!(native.lines().count(), emulated.lines().count());
        assert_eq!(native_tree, emulated_tree, "{}", kind.name);
    }
}
