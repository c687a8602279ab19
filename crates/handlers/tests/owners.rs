//! Owners changed with a privilege, and by grant of it. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::os::fd::AsFd;

use nix::unistd::FchownatFlags;
use rustix::fs::{AtFlags, CWD, Gid, Uid, chown, chownat, fchown};
use rustix::io::Errno;
use seccomp_agent_handlers::{Numbers, Owners};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::differential::{Open, compare, compare_inside, from_nix};

fn granting(users: &Numbers, groups: &Numbers) -> Registry {
    let mut registry = Registry::new();
    for name in ["chown", "lchown", "fchown", "fchownat"] {
        registry.on(name, Owners::granting(users.clone(), groups.clone())).unwrap();
    }
    registry
}

fn calls(open: &Open) -> Vec<(String, Result<(), Errno>)> {
    let mut said = Vec::new();
    let ids = [(Some(1000), Some(2000)), (Some(7), None), (None, Some(8)), (None, None), (Some(0), Some(0))];
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
        "sticky/other",
        "sticky/link",
        "setgid",
        "noexec/x",
        "../w/own",
        "/w/own",
    ] {
        for (user, group) in ids {
            let (uid, gid) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
            let what = format!("{path} {user:?} {group:?}");
            said.push((format!("chown {what}"), chown(path, uid, gid)));
            said.push((format!("chownat {what}"), chownat(CWD, path, uid, gid, AtFlags::EMPTY_PATH)));
            let (uid, gid) = (user.map(nix::unistd::Uid::from_raw), group.map(nix::unistd::Gid::from_raw));
            let link = nix::unistd::fchownat(CWD, path, uid, gid, FchownatFlags::AT_SYMLINK_NOFOLLOW);
            said.push((format!("not following {what}"), from_nix(link)));
        }
    }
    let ids = (Some(Uid::from_raw(7)), Some(Gid::from_raw(2000)));
    for (name, fd) in [
        ("folder", open.folder.as_fd()),
        ("file", open.file.as_fd()),
        ("other file", open.other_file.as_fd()),
        ("by path", open.by_path.as_fd()),
        ("pipe", open.pipe.as_fd()),
    ] {
        said.push((format!("fchown {name}"), fchown(fd, ids.0, ids.1)));
        said.push((format!("empty {name}"), chownat(fd, "", ids.0, ids.1, AtFlags::EMPTY_PATH)));
        said.push((format!("bad flag {name}"), chownat(fd, "", ids.0, ids.1, AtFlags::EACCESS)));
    }
    said
}

#[test]
fn a_grant_of_all_ids_does_what_the_capability_would() {
    compare(Capabilities::CHOWN, || granting(&Numbers::all(), &Numbers::all()), calls);
}

#[test]
fn nothing_is_granted_towards_ids_that_are_not_listed() {
    let some: Numbers = [1..=6, 9..=999].into_iter().collect();
    compare(
        Capabilities::empty(),
        || granting(&some, &some),
        |open| {
            // Listed or not changed: none of the ids that are tried, but for leaving both as they are.
            calls(open).into_iter().filter(|(what, _)| !what.ends_with("None None")).collect()
        },
    );
}

#[test]
fn in_a_user_namespace_a_grant_does_what_the_capability_would_there() {
    let test = "in_a_user_namespace_a_grant_does_what_the_capability_would_there";
    compare_inside(test, Capabilities::CHOWN, || granting(&Numbers::all(), &Numbers::all()), calls);
}
