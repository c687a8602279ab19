//! Directories made by a caller itself and for it, side by side. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdir, mkdirat, open};
use rustix::io::Errno;
use seccomp_agent_handlers::{Capabilities, Directories};
use seccomp_agent_registry::Registry;
use support::differential::compare_inside;
use support::inside;
use support::tree::{Kind, build, kinds, listing};

fn directories() -> Registry {
    let mut registry = Registry::new();
    registry.on("mkdir", Directories::new()).unwrap();
    registry.on("mkdirat", Directories::new()).unwrap();
    registry
}

/// What is made in the host's root, where the caller may do that: a name that no other test has, and the same natively
/// and emulated.
fn above_the_root() -> String {
    match inside::role() {
        Some(_) => format!("made-inside-for-{}", parent_id()),
        None => format!("made-for-{}", std::process::id()),
    }
}

/// Paths below the working directory, each tried twice: the second time it exists.
fn paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "plain",
        "slash/",
        "slashes//",
        "nothing/x",
        "",
        ".",
        "..",
        "./",
        "../w/x",
        "plain/..",
        "nothing/..",
        "/",
        "//",
        "/w2/x",
        "/nothing/x",
        &format!("../../../../../../../../../{}", above_the_root()),
        "middle/x",
        "middle",
        "middle/",
        "absolute/x",
        "loop/x",
        "loop",
        "dangling",
        "dangling/",
        "dangling/x",
        "up/x",
        "setgid/x",
        "acl/x",
        "sticky/x",
        "sticky/link/x",
        "friends/x",
        "private/x",
        "readonly/x",
        "noexec/x",
        "mine/x",
        "file",
        "file/x",
        "file/",
        "real//.//x",
        "real/../real/y",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(["n".repeat(255), "n".repeat(256), format!("real/{}/", "n".repeat(255))]);
    for length in [4094_usize, 4095, 4096] {
        // Most of it names the working directory.
        paths.push("./".repeat(length / 2 - 1) + &"long"[..2 + length % 2]);
    }
    paths
}

/// What each call says, and what is there afterwards.
fn outcomes(
    kind: &Kind,
    registry: Option<Registry>,
) -> (Vec<(String, Result<(), Errno>)>, impl PartialEq + std::fmt::Debug + use<>) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let (here, who) = (root.path().to_owned(), kind.clone());
    let said = support::run(registry, move || who.become_it(&here), calls);
    let _ = fs::remove_dir(Path::new("/").join(above_the_root()));
    (said, listing(root.path()))
}

fn calls() -> Vec<(String, Result<(), Errno>)> {
    let modes = [0o777, 0o7777, 0o1755, 0, 0o40777].into_iter().cycle();
    let calls = paths().into_iter().flat_map(|path| [path.clone(), path]).zip(modes);
    let both = [make_by_mkdir, make_by_mkdirat].into_iter().cycle();
    calls.zip(both).map(|((path, mode), make)| (path.clone(), make(&path, mode))).collect()
}

fn make_by_mkdir(path: &str, mode: u32) -> Result<(), Errno> {
    let outcome = nix::unistd::mkdir(path, nix::sys::stat::Mode::from_bits_retain(mode));
    outcome.map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

fn make_by_mkdirat(path: &str, mode: u32) -> Result<(), Errno> {
    mkdirat(CWD, path, Mode::from_bits_retain(mode))
}

#[test]
fn every_kind_of_caller_gets_what_it_would_have_got_itself() {
    for kind in kinds() {
        let (native, native_tree) = outcomes(&kind, None);
        let (emulated, emulated_tree) = outcomes(&kind, Some(directories()));
        for (native, emulated) in native.iter().zip(&emulated) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        assert_eq!(native_tree, emulated_tree, "{}", kind.name);
    }
}

#[test]
fn callers_in_a_user_namespace_get_what_they_would_have_got_themselves() {
    let test = "callers_in_a_user_namespace_get_what_they_would_have_got_themselves";
    compare_inside(test, Capabilities::empty(), directories, |_| calls());
}

#[test]
fn directory_arguments_of_all_kinds_mean_the_callers() {
    let kind = kinds().into_iter().find(|kind| kind.name == "user").unwrap();
    let outcome = |registry| {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        build(root.path());
        let (here, who) = (root.path().to_owned(), kind.clone());
        let said = support::run(
            registry,
            move || who.become_it(&here),
            || {
                let folder = open("real", OFlags::RDONLY, Mode::empty()).unwrap();
                let by_path = open("setgid", OFlags::PATH, Mode::empty()).unwrap();
                let file = open("file", OFlags::RDONLY, Mode::empty()).unwrap();
                let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
                let removed = {
                    mkdir("real/removed", Mode::RWXU).unwrap();
                    let folder = open("real/removed", OFlags::RDONLY, Mode::empty()).unwrap();
                    rustix::fs::rmdir("real/removed").unwrap();
                    folder
                };
                let mode = Mode::from_raw_mode(0o777);
                let mut said = Vec::new();
                for path in ["x", "x/y", "../z", "", "../middle/m", "/w/absolute-path"] {
                    said.push(mkdirat(&folder, path, mode));
                    said.push(mkdirat(&by_path, path, mode));
                    said.push(mkdirat(&file, path, mode));
                    said.push(mkdirat(&pipe, path, mode));
                    said.push(mkdirat(&removed, path, mode));
                    said.push(mkdirat(CWD, path, mode));
                }
                said
            },
        );
        (said, listing(root.path()))
    };
    assert_eq!(outcome(None), outcome(Some(directories())));
}

#[test]
fn a_suffix_changes_the_name_and_nothing_else() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let mut registry = Registry::new();
    registry.on("mkdirat", Directories::with_suffix("-pid-7")).unwrap();
    let here = root.path().to_owned();
    let kind = kinds().into_iter().find(|kind| kind.name == "user, chrooted").unwrap();
    let said = support::run(
        Some(registry),
        move || kind.become_it(&here),
        || {
            ["/w2/abc/", "/w2/abc", "/w2/..", "/w/private/abc"]
                .map(|path| mkdir(path, Mode::from_raw_mode(0o777)))
        },
    );
    assert_eq!(said, [Ok(()), Err(Errno::EXIST), Err(Errno::EXIST), Err(Errno::ACCESS)]);
    let made = fs::metadata(root.path().join("w2/abc-pid-7")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o750, 1000, 1000));
    assert!(!root.path().join("w2/abc").exists());
}

#[test]
fn a_read_only_mount_is_read_only_for_the_agent_too() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let here = root.path().to_owned();
    let said = support::run(
        Some(directories()),
        move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let private =
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            let real = here.join("w/real");
            rustix::mount::mount_bind(&real, &real).unwrap();
            rustix::mount::mount_remount(
                &real,
                rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY,
                c"",
            )
            .unwrap();
            rustix::process::chdir(here.join("w")).unwrap();
        },
        || ["real/x", "real/../y"].map(|path| mkdir(path, Mode::RWXU)),
    );
    assert_eq!(said, [Err(Errno::ROFS), Ok(())]);
    assert!(!Path::new(root.path()).join("w/real/x").exists());
}
