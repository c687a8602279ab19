//! Mounts of all kinds, by a caller that may mount and for one that may not. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, lsetxattr, mknodat};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use seccomp_agent_handlers::{Allowed, FileSystem, FileSystemGrant, Mount};
use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;
use support::mounts::{Said, mount, table, umount, umount_at_once};
use support::tree::{Kind, kind};

/// Grants everything, and tmpfs and overlay their devices and programs.
fn registry() -> Registry {
    let allow = Allowed { suid: true, dev: true, exec: true };
    let grants = FileSystem::ALL.map(|kind| FileSystemGrant { allow, ..kind.into() });
    support::mounts::registry(&Mount::granting(grants).with_binds().with_propagation())
}

fn build(root: &Path) {
    for name in ["a", "b", "c", "d", "lower1", "lower2", "upper", "work", "merged", "deep", "deep/er"] {
        let at = root.join("w").join(name);
        fs::create_dir_all(&at).unwrap();
        fs::set_permissions(&at, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let w = root.join("w");
    fs::set_permissions(&w, PermissionsExt::from_mode(0o777)).unwrap();
    for (name, content) in [("file", "1"), ("other", "2"), ("lower1/both", "one"), ("lower2/both", "two")] {
        fs::write(w.join(name), content).unwrap();
    }
    fs::write(w.join("lower2/gone"), "").unwrap();
    mknodat(CWD, w.join("lower1/gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    lsetxattr(w.join("lower2/both"), "user.x", b"y", XattrFlags::empty()).unwrap();
    for (link, to) in [("link", "a"), ("dangling", "nothing"), ("loop", "loop"), ("up", "..")] {
        symlink(to, w.join(link)).unwrap();
    }
}

thread_local! {
    static TABLE: RefCell<Option<fs::File>> = const { RefCell::new(None) };
}

/// What `calls` say and leave behind, natively by callers with `CAP_SYS_ADMIN` and emulated without it.
fn compare(names: &[&str], calls: fn(&mut Said)) {
    compare_with(Features::probe(), names, calls);
}

/// [`compare`], where emulation has no more of the kernel than `features`.
fn compare_with(features: Features, names: &[&str], calls: fn(&mut Said)) {
    for name in names {
        let base = kind(name);
        let admin = CapabilitySet::SYS_ADMIN;
        let outcome = |registry: Option<Registry>, capabilities| {
            let root = tempfile::tempdir_in("/tmp").unwrap();
            build(root.path());
            let (here, there) = (root.path().to_owned(), root.path().to_owned());
            let who = Kind { capabilities, ..base.clone() };
            support::run_with(
                registry,
                features,
                move || {
                    support::unshare_mounts();
                    // A caller that is chrooted has no procfs.
                    TABLE.set(fs::File::open("/proc/thread-self/mountinfo").ok());
                    who.become_it(&here);
                },
                move || {
                    let mut said = Said::new();
                    calls(&mut said);
                    let mut mounts = String::new();
                    TABLE.take().unwrap().read_to_string(&mut mounts).unwrap();
                    (said, table(&mounts, &there))
                },
            )
        };
        let native = outcome(None, base.capabilities | admin);
        let emulated = outcome(Some(registry()), base.capabilities - admin);
        for (native, emulated) in native.0.iter().zip(&emulated.0) {
            assert_eq!(native, emulated, "{name}");
        }
        assert_eq!(native.1, emulated.1, "{name}");
        assert_eq!(native.0.len(), emulated.0.len(), "{name}");
        assert!(native.0.iter().any(|(_, said)| said.is_ok()), "{name}: nothing succeeds");
    }
}

const CALLERS: [&str; 6] = [
    "root",
    "user",
    "root without capabilities",
    "root bound by permissions",
    "user, chrooted",
    "root, chrooted",
];

const NONE: MsFlags = MsFlags::empty();
const DETACH: i32 = 2;
const EXPIRE: i32 = 4;
const NOFOLLOW: i32 = 8;

fn exists(path: &str) -> Result<(), Errno> {
    rustix::fs::stat(path).map(drop)
}

fn write(path: &str) -> Result<(), Errno> {
    fs::write(path, "x").map_err(|error| Errno::from_io_error(&error).unwrap())
}

#[test]
fn targets_mean_what_they_mean_to_the_caller() {
    compare(&CALLERS, |said| {
        for target in [
            "a",
            "./b/",
            "c/../c",
            "link",
            "deep/er/..",
            "file",
            "file/",
            "nothing",
            "nothing/x",
            "dangling",
            "loop",
            "",
            "up/w/d",
            ".",
            "file/x",
            "a/b",
        ] {
            said.push((target.into(), mount("x", target, "tmpfs", NONE, "mode=711,size=1m")));
        }
        for path in ["a", "b", "c", "d", "deep"] {
            let meta = fs::metadata(path).unwrap();
            said.push((format!("{path} {:o} {} {}", meta.mode(), meta.uid(), meta.gid()), Ok(())));
        }
    });
}

#[test]
fn flags_and_options_are_honoured() {
    compare(&CALLERS, |said| {
        let all = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (target, kind, flags, options) in [
            ("a", "tmpfs", MsFlags::MS_RDONLY, "size=64k,nr_inodes=10,uid=7,gid=8,mode=1777"),
            ("a", "tmpfs", all | MsFlags::MS_NOATIME, ""),
            ("a", "tmpfs", MsFlags::MS_STRICTATIME | MsFlags::MS_NODIRATIME, "mode=0"),
            ("a", "tmpfs", MsFlags::MS_SYNCHRONOUS | MsFlags::MS_DIRSYNC, ""),
            ("b", "tmpfs", NONE, "size=nonsense"),
            ("b", "tmpfs", NONE, "nonsense"),
            ("b", "tmpfs", NONE, "size"),
            ("b", "devpts", NONE, "newinstance,ptmxmode=666,mode=620,max=5"),
            ("c", "mqueue", all, ""),
            ("d", "proc", all, "hidepid=2,gid=3"),
            ("d", "proc", NONE, "hidepid=9"),
        ] {
            said.push((format!("{kind} {options}"), mount("source", target, kind, flags, options)));
        }
        said.push(("no source".into(), mount("", "c", "tmpfs", NONE, "")));
        said.push(("ptmx".into(), exists("b/ptmx")));
    });
}

#[test]
fn mounts_are_unmounted() {
    compare(&CALLERS, |said| {
        let mut say = |what: &str, outcome| said.push((what.into(), outcome));
        for target in ["a", "b", "c", "d"] {
            say(target, mount("x", target, "tmpfs", NONE, "mode=777"));
        }
        let file = fs::File::create("a/open").unwrap();
        say("busy", umount_at_once("a", 0));
        say("busy, expire", umount_at_once("a", EXPIRE));
        say("detach", umount("a", DETACH));
        drop(file);
        say("detached", exists("a/open"));
        say("no mount", umount("a", 0));
        say("expire", umount("b", EXPIRE));
        say("expired", umount("b", EXPIRE));
        say("both", umount("c", EXPIRE | DETACH));
        say("unknown flag", umount("c", 1 << 20));
        for target in ["nothing", "", "file/x", "loop", "file", "c/x"] {
            say(target, umount(target, 0));
        }
        say("on link", mount("x", "link", "tmpfs", NONE, ""));
        say("link itself", umount("link", NOFOLLOW));
        say("link", umount("link", 0));
        say("stacked", mount("y", "c", "tmpfs", NONE, ""));
        say("on top", umount("c/.", 0));
        say("below", umount("./d/../c/", 0));
        say("nested folder", fs::create_dir("d/in").map_err(|error| Errno::from_io_error(&error).unwrap()));
        say("nested", mount("z", "d/in", "tmpfs", NONE, ""));
        say("has another", umount_at_once("d", 0));
        say("nested is gone", umount("d/in", 0));
        say("has none", umount("d", 0));
    });
}

#[test]
fn mounts_are_changed() {
    compare(&CALLERS, |said| {
        let remount = |target, flags, options| mount("", target, "", MsFlags::MS_REMOUNT | flags, options);
        let mut say = |what: &str, outcome| said.push((what.into(), outcome));
        say("mount", mount("x", "a", "tmpfs", MsFlags::MS_NOATIME, "mode=777,size=1m"));
        say("read-only", remount("a", MsFlags::MS_RDONLY, ""));
        say("refused", write("a/file"));
        say("writable", remount("a", NONE, "size=2m"));
        say("written", write("a/file"));
        let all = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        say("flags", remount("a", MsFlags::MS_BIND | all, ""));
        say("other flags", remount("a", MsFlags::MS_BIND | MsFlags::MS_NODIRATIME, ""));
        say("mount only", remount("a", MsFlags::MS_BIND | MsFlags::MS_RDONLY, ""));
        say("refused again", write("a/file"));
        say("unknown option", remount("a", NONE, "nonsense"));
        say("no mount", remount("b", NONE, ""));
        say("no mount only", remount("b", MsFlags::MS_BIND, ""));
        say("nothing", remount("nothing", NONE, ""));
        say("smaller than it is", remount("a", NONE, "size=1"));
    });
}

#[test]
fn folders_and_files_are_bound() {
    compare(&CALLERS, |said| {
        let bind = |source, target, flags| mount(source, target, "", MsFlags::MS_BIND | flags, "");
        let mut say = |what: &str, outcome| said.push((what.into(), outcome));
        say("folder", bind("lower1", "a", NONE));
        say("seen", exists("a/both"));
        say("file", bind("file", "other", NONE));
        say("file is read", (fs::read_to_string("other").unwrap() == "1").then_some(()).ok_or(Errno::IO));
        say("file on folder", bind("file", "b", NONE));
        say("folder on file", bind("lower1", "file", NONE));
        for source in ["nothing", "", "loop", "dangling", "file/x"] {
            say(source, bind(source, "b", NONE));
        }
        say("to nothing", bind("lower1", "nothing", NONE));
        say("mount", mount("x", "deep/er", "tmpfs", NONE, "mode=777"));
        say("written", write("deep/er/file"));
        say("recursive", bind("deep", "b", MsFlags::MS_REC));
        say("below", exists("b/er/file"));
        say("by link", bind("link", "d", NONE));
        say("linked", exists("d/both"));
        say("read-only", mount("", "d", "", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, ""));
        say("refused", write("d/new"));
        say("busy", umount_at_once("b", 0));
        say("detach", umount("b", DETACH));
        say("unmounted", umount("other", 0));
        say("is as before", (fs::read_to_string("other").unwrap() == "2").then_some(()).ok_or(Errno::IO));
    });
}

#[test]
fn propagation_is_changed() {
    compare(&["root", "user"], |said| {
        let change = |target, flags| mount("", target, "", flags, "");
        let mut say = |what: &str, outcome| said.push((what.into(), outcome));
        say("mount", mount("x", "a", "tmpfs", NONE, ""));
        say("private", change("a", MsFlags::MS_PRIVATE));
        say("slave", change("a", MsFlags::MS_SLAVE));
        say("unbindable", change("a", MsFlags::MS_UNBINDABLE));
        say("bound", mount("a", "b", "", MsFlags::MS_BIND, ""));
        say("private again", change("a", MsFlags::MS_PRIVATE | MsFlags::MS_REC));
        say("bound again", mount("a", "b", "", MsFlags::MS_BIND, ""));
        say("no mount", change("c", MsFlags::MS_PRIVATE));
    });
}

#[test]
fn overlays_are_made_of_the_callers_folders() {
    let now = Features::probe();
    // The second as before Linux 6.15.
    for features in [now, Features { overlay_descriptors: false, ..now }] {
        compare_with(features, &["root", "root bound by permissions", "root, chrooted"], overlays);
    }
}

fn overlays(said: &mut Said) {
    let overlay = |target, options| mount("o", target, "overlay", NONE, options);
    let mut say = |what: &str, outcome| said.push((what.into(), outcome));
    say("mount", overlay("merged", "lowerdir=lower1:./lower2,upperdir=upper,workdir=work"));
    let read = |path| fs::read_to_string(path).map_err(|error| Errno::from_io_error(&error).unwrap());
    say(&format!("{:?}", read("merged/both")), Ok(()));
    say("white out", exists("merged/gone"));
    say("written", write("merged/both"));
    say(&format!("{:?} {:?}", read("upper/both"), read("lower1/both")), Ok(()));
    say("removed", rustix::fs::unlink("merged/both"));
    let whiteout =
        fs::symlink_metadata("upper/both").map(|meta| (meta.file_type().is_char_device(), meta.rdev()));
    say(&format!("{:?}", whiteout.ok()), Ok(()));
    say("new", write("merged/new"));
    say("attribute", lsetxattr("merged/new", "user.x", b"1", XattrFlags::empty()));
    say("lower only", overlay("a", "lowerdir=lower2:lower1"));
    say("not written", write("a/x"));
    let mut value = [0_u8; 4];
    say(&format!("{:?}", lgetxattr("a/both", "user.x", &mut value[..])), Ok(()));
    for options in [
        "lowerdir=nothing:lower1",
        "upperdir=upper,workdir=work",
        "",
        "lowerdir=file:lower1",
        "lowerdir=loop:lower1",
        "lowerdir=lower1:lower2,nonsense",
        "lowerdir",
    ] {
        say(options, overlay("b", options));
    }
    say("unmounted", umount("merged", 0));
    say("again", umount("merged", 0).or(Ok(())));
}
