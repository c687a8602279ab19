//! Callers with a user namespace of their own. Needs root and busybox.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, Gid, Uid, XattrFlags, chownat};
use seccomp_agent_handlers::{Attributes, Devices, Directories, Modes, Nodes, Numbers, Owners};
use seccomp_agent_notify::Features;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::audit::{audited, record};
use support::inside::{FIRST, Keeps, give};
use support::tree::{build, listing};

/// Everything is granted but devices.
fn registry(suffix: &str, devices: &[Devices]) -> Registry {
    let mut registry = Registry::new();
    for name in ["mkdir", "mkdirat"] {
        registry.on(name, Directories::with_suffix(suffix)).unwrap();
    }
    for name in ["chmod", "fchmod", "fchmodat", "fchmodat2"] {
        registry.on(name, Modes::granting(Capabilities::FOWNER | Capabilities::FSETID)).unwrap();
    }
    for name in ["chown", "lchown", "fchown", "fchownat"] {
        registry.on(name, Owners::granting(Numbers::all(), Numbers::all())).unwrap();
    }
    for name in ["mknod", "mknodat"] {
        registry.on(name, Nodes::granting(devices.to_vec())).unwrap();
    }
    registry.on("setxattr", Attributes::granting(["trusted."])).unwrap();
    registry
}

/// A tree whose ids are those of such a namespace, but for what is in `w/ours`.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    give(root.path());
    fs::create_dir(root.path().join("w/ours")).unwrap();
    fs::write(root.path().join("w/ours/file"), "").unwrap();
    root
}

/// Runs a script as root of a new user namespace, by way of `wrapper`, a program and its first arguments.
fn inside(registry: Option<Registry>, folder: &Path, wrapper: &str, script: &str) -> String {
    let script = format!("cd {}/w; {script}", folder.display());
    let wrapper: Vec<_> = wrapper.split_whitespace().map(str::to_owned).collect();
    let body = move || {
        let keeps = Keeps::new();
        let mut enter = keeps.enter();
        enter.args(wrapper).args(["/bin/busybox", "sh", "-c", &script]).stdin(Stdio::null());
        let run = enter.output().unwrap();
        String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap()
    };
    support::run(registry, || (), body)
}

/// Who calls in the namespace, natively with a capability and emulated without it.
fn callers(capability: &str) -> [(&'static str, String, String); 3] {
    let user = "setpriv --reuid 1000 --regid 1000 --groups 2000";
    let with = format!("{user} --inh-caps +{capability} --ambient-caps +{capability}");
    let bound = "setpriv --bounding-set -dac_override,-dac_read_search";
    [
        ("root", String::new(), format!("setpriv --bounding-set -{capability}")),
        ("user", with, user.to_owned()),
        ("root bound by permissions", bound.to_owned(), format!("{bound},-{capability}")),
    ]
}

/// Both must say the same and leave the same behind; and unless `is_granted`, so must those without it natively.
fn compare(capability: &str, is_granted: bool, script: &str) {
    let mut matters = false;
    for (name, with, without) in callers(capability) {
        let outcome = |registry: Option<Registry>, wrapper: &str| {
            let root = tree();
            let said = inside(registry, root.path(), wrapper, script);
            (said.replace(root.path().to_str().unwrap(), ""), listing(root.path()))
        };
        let (native, native_tree) = outcome(None, &with);
        let (emulated, emulated_tree) = outcome(Some(registry("", &[])), &without);
        assert_eq!(native, emulated, "{name}");
        assert_eq!(native_tree, emulated_tree, "{name}: {native}");
        assert!(native.contains(" 0\n") && native.contains(" 1\n"), "{name}: {native}");
        matters = matters || outcome(None, &without).0 != native;
    }
    assert_eq!(matters, is_granted, "whether the capability makes a difference");
}

/// `command` for each of the tree's places, followed by whether it succeeded.
fn everywhere(command: &str) -> String {
    let places = "plain real/x setgid/x acl/x sticky/x friends/x private/x mine/x readonly/x noexec/x ours/x \
                  nothing/x middle/x absolute/x loop/x sticky/link/x file/x ../above /proc/self/cwd/real/y";
    format!("umask 027; for place in {places}; do {command}; echo $place $?; done;")
}

#[test]
fn directories_are_the_same_natively_and_emulated() {
    compare("sys_time", false, &everywhere("busybox mkdir $place"));
}

#[test]
fn nodes_are_the_same_natively_and_emulated() {
    let fifos = everywhere("busybox mkfifo $place");
    let others = "busybox mknod whiteout c 0 0; echo $?; busybox mknod null c 1 3; echo $?; \
                  busybox mknod mine/whiteout c 0 0; echo $?";
    compare("mknod", false, &(fifos + others));
}

#[test]
fn modes_are_the_same_natively_and_emulated() {
    let one = |mode: &str| {
        format!(
            "for file in file own suid sticky/other ours/file ours real mine private nothing loop middle \
             friends setgid acl; do busybox chmod {mode} $file; echo $file $?; done;"
        )
    };
    compare("fowner", true, &(one("640") + &one("2755") + &one("4711")));
}

#[test]
fn owners_are_the_same_natively_and_emulated() {
    let one = |owner: &str| {
        format!(
            "for file in own suid file sticky/other ours/file ours middle mine/nothing friends; do \
             busybox chown {owner} $file; echo $file $?; busybox chown -h {owner} $file; echo $file $?; done;"
        )
    };
    compare("chown", true, &(one("1000:1000") + &one("0:2000") + &one("70000") + &one("4242:4242")));
}

#[test]
fn what_is_not_theirs_inside_stays_out_of_reach_and_what_is_listed_is_made() {
    let root = tree();
    let null = Devices {
        is_block: false,
        major: [1..=1].into_iter().collect(),
        minor: [3..=3].into_iter().collect(),
    };
    let script = "busybox mkdir ours/x; busybox chmod 777 ours/file; busybox chown 0 ours/file; \
                  busybox mknod null c 1 3; busybox mknod zero c 1 5; busybox mknod ours/null c 1 3";
    let said = inside(Some(registry("", &[null])), root.path(), "", script);
    let meta = |name: &str| fs::symlink_metadata(root.path().join("w").join(name));
    let ours = meta("ours/file").unwrap();
    assert_eq!((ours.uid(), ours.mode() & 0o7777), (0, 0o644), "{said}");
    for refused in ["ours/x", "ours/null", "zero"] {
        assert!(meta(refused).is_err(), "{refused}: {said}");
    }
    // The kernel makes no devices for anybody inside, and there is nobody else whose it could be.
    let null = meta("null").unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.uid(), null.gid()), (0x103, FIRST, FIRST));
}

/// What user 1000 tries as root of a user namespace that it has made; `first` is user 0 around it.
fn nothing_is_had_around(first: u32, root: &Path, run: impl FnOnce(Registry, &'static str) -> String) {
    let script = "busybox id -u; busybox mkdir private/x mine/x; busybox chmod 777 file; busybox chmod 700 own; \
                  busybox chown 0:0 file; busybox mknod private/null c 1 3; busybox mknod mine/null c 1 3";
    let (said, records) = record(|| run(audited(registry("", &[])), script));
    assert!(said.starts_with("0\n"), "{said}");
    for (handler, path, errno) in [
        ("directories", "private/x", "EACCES"),
        ("modes", "file", "EPERM"),
        ("owners", "file", "EPERM"),
        ("nodes", "private/null", "EACCES"),
        ("nodes", "mine/null", "EPERM"),
    ] {
        records.assert_refused(&[("handler", handler), ("path", path), ("errno", errno)]);
    }
    let meta = |name: &str| fs::symlink_metadata(root.join("w").join(name));
    for refused in ["private/x", "private/null", "mine/null"] {
        assert!(meta(refused).is_err(), "{refused}: {said}");
    }
    let file = meta("file").unwrap();
    assert_eq!((file.uid(), file.mode() & 0o7777), (first, 0o644), "{said}");
    assert_eq!(meta("own").unwrap().mode() & 0o7777, 0o700, "{said}");
    assert_eq!(meta("mine/x").unwrap().uid(), first + 1000, "{said}");
}

#[test]
fn a_namespace_within_gives_nothing_around_it() {
    let root = tree();
    let nested = "setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user";
    nothing_is_had_around(FIRST, root.path(), |registry, script| {
        inside(Some(registry), root.path(), nested, script)
    });
}

#[test]
fn a_namespace_that_a_user_makes_gives_nothing_around_it() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    nothing_is_had_around(0, root.path(), |registry, script| {
        let nested = "unshare --user --map-root-user /bin/busybox sh -c";
        let script = format!("cd {}/w; {nested} '{script}'", root.path().display());
        support::script(Some(registry), Features::probe(), 1000, || (), script)
    });
}

#[test]
fn a_suffix_is_appended_for_them_too() {
    let root = tree();
    let said = inside(Some(registry("-x", &[])), root.path(), "", "busybox mkdir mine/a private/b");
    for made in ["w/mine/a-x", "w/private/b-x"] {
        let made = fs::metadata(root.path().join(made)).unwrap();
        assert_eq!((made.uid(), made.gid()), (FIRST, FIRST), "{said}");
    }
}

const FILE: &str = "USER_NAMESPACE_TEST_FILE";

/// Does nothing unless another test runs it as a program.
#[test]
fn set_attributes() {
    let Some(file) = std::env::var_os(FILE) else { return };
    for name in ["trusted.x", "security.x", "user.x"] {
        println!("{name} {:?}", rustix::fs::setxattr(&file, name, b"1", XattrFlags::empty()));
    }
}

#[test]
fn attributes_that_take_a_capability_outside_are_set_if_they_are_listed() {
    let root = tree();
    // Not by this process: what it starts meanwhile would keep the program open for writing.
    let program = root.path().join("w/program");
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(program).status();
    assert!(copied.unwrap().success());
    fs::write(root.path().join("w/mine/file"), "").unwrap();
    let file = root.path().join("w/mine/file");
    chownat(CWD, &file, Some(Uid::from_raw(FIRST)), Some(Gid::from_raw(FIRST)), AtFlags::empty()).unwrap();
    let granted = || Some(registry("", &[]));
    for (file, registry, outcomes) in [
        ("mine/file", None, ["Err", "Err", "Ok"]),
        ("mine/file", granted(), ["Ok", "Err", "Ok"]),
        // Ours: nobody inside is its owner.
        ("ours/file", granted(), ["Err", "Err", "Err"]),
    ] {
        let script = format!("{FILE}={file} ./program --exact set_attributes --nocapture");
        let said = inside(registry, root.path(), "", &script);
        for (name, outcome) in ["trusted.x", "security.x", "user.x"].iter().zip(outcomes) {
            assert!(said.contains(&format!("{name} {outcome}(")), "{file} {name}: {said}");
        }
    }
}
