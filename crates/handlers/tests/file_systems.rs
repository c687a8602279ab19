//! File systems and mounts of all kinds, with the kernel's answers and for it. Needs root and a C compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::fs::{chmodat, chownat, lsetxattr, makedev, mkdirat, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use seccomp_agent_registry::Registry;
use support::differential::assert_same;
use support::inside::{FIRST, Program, give, role, tell};
use support::program::compile;
use support::tree::{Kind, build, kinds};

/// Where there is something mounted below `w`.
const MOUNTS: [&str; 8] =
    ["plain", "readonly-mount", "readonly-fs", "no-inodes", "no-space", "idmapped", "nodev", "nosymfollow"];

/// Mounts all of [`MOUNTS`] for the calling thread, each with a file, a directory and a link that are the users'
/// from `first` on. `idmapped` is the program that maps ids.
fn mount_all(root: &Path, first: u32, idmapped: &Path) {
    let w = root.join("w");
    for name in MOUNTS {
        let at = w.join(name);
        fs::create_dir(&at).unwrap();
        let (flags, options) = match name {
            "no-inodes" => (MountFlags::empty(), c"mode=777,nr_inodes=8"),
            "no-space" => (MountFlags::empty(), c"mode=777,size=4k"),
            "nodev" => (MountFlags::NODEV, c"mode=777"),
            _ => (MountFlags::empty(), c"mode=777"),
        };
        mount(name, &at, "tmpfs", flags, options).unwrap();
        fill(&at, first);
        match name {
            "readonly-fs" => mount_remount(&at, MountFlags::RDONLY, c"").unwrap(),
            "readonly-mount" => {
                mount_bind(&at, &at).unwrap();
                mount_remount(&at, MountFlags::RDONLY | MountFlags::BIND, c"").unwrap();
            }
            "no-inodes" => while fs::File::create(at.join(format!("more-{}", count(&at)))).is_ok() {},
            "no-space" => {
                let _full = fs::write(at.join("data"), vec![1; 1 << 16]);
            }
            "idmapped" => {
                assert!(Command::new(idmapped).args([&at, &at]).status().unwrap().success());
            }
            "nosymfollow" => mount_remount(&at, MountFlags::from_bits_retain(256), c"").unwrap(),
            _ => {}
        }
    }
}

fn idmapped() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = compile("idmapped", folder.path());
    (folder, program)
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn fill(folder: &Path, first: u32) {
    fs::create_dir(folder.join("in")).unwrap();
    fs::set_permissions(folder.join("in"), PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(folder.join("own"), "").unwrap();
    // 4242 on disk is 1000 where ids are mapped.
    let owner = if folder.ends_with("idmapped") { 4242 } else { first + 1000 };
    chown(folder.join("own"), Some(owner), Some(owner)).unwrap();
    symlink("in", folder.join("link")).unwrap();
    for (name, follow) in
        [(".", AtFlags::empty()), ("in", AtFlags::empty()), ("link", AtFlags::SYMLINK_NOFOLLOW)]
    {
        let (user, group) = (Some(Uid::from_raw(first)), Some(Gid::from_raw(first)));
        chownat(CWD, folder.join(name), user, group, follow).unwrap();
    }
}

type Said = Vec<(String, Result<(), Errno>)>;

/// Calls of all families there, and what is to be seen afterwards.
fn calls() -> (Said, Vec<String>) {
    let (mut said, mut seen) = (Said::new(), Vec::new());
    for place in MOUNTS {
        let at = |name: &str| format!("{place}/{name}");
        let mut say = |what: &str, outcome| said.push((format!("{what} {place}"), outcome));
        let mode = Mode::from_raw_mode;
        say("directory", mkdirat(CWD, at("made"), mode(0o777)));
        say("directory again", mkdirat(CWD, at("made"), mode(0o777)));
        say("directory in", mkdirat(CWD, at("in/made"), mode(0o2777)));
        say("directory through link", mkdirat(CWD, at("link/through"), mode(0o777)));
        say("fifo", mknodat(CWD, at("fifo"), FileType::Fifo, mode(0o666), 0));
        say("whiteout", mknodat(CWD, at("whiteout"), FileType::CharacterDevice, mode(0), 0));
        let null = makedev(1, 3);
        say("device", mknodat(CWD, at("null"), FileType::CharacterDevice, mode(0o666), null));
        say("mode", chmodat(CWD, at("own"), mode(0o4711), AtFlags::empty()));
        say("another's mode", chmodat(CWD, at("."), mode(0o711), AtFlags::empty()));
        say("mode through link", chmodat(CWD, at("link"), mode(0o711), AtFlags::empty()));
        let (user, group) = (Some(Uid::from_raw(1000)), Some(Gid::from_raw(1000)));
        say("owner", chownat(CWD, at("own"), user, group, AtFlags::empty()));
        let other = (Some(Uid::from_raw(5)), Some(Gid::from_raw(6)));
        say("other owner", chownat(CWD, at("own"), other.0, other.1, AtFlags::SYMLINK_NOFOLLOW));
        let unmapped = Some(Uid::from_raw(77));
        say("unmapped owner", chownat(CWD, at("own"), unmapped, None, AtFlags::empty()));
        say("attribute", lsetxattr(at("own"), "user.x", b"y", XattrFlags::empty()));
        say("attribute of directory", lsetxattr(at("in"), "user.x", b"y", XattrFlags::empty()));
        say("trusted", lsetxattr(at("own"), "trusted.x", b"y", XattrFlags::empty()));
        for name in ["own", "made", "in", "in/made", "in/through", "fifo", "whiteout", "null", "."] {
            seen.push(match fs::symlink_metadata(at(name)) {
                Ok(meta) => {
                    format!("{}: {:o} {} {} {:x}", at(name), meta.mode(), meta.uid(), meta.gid(), meta.rdev())
                }
                Err(error) => format!("{}: {error}", at(name)),
            });
        }
    }
    (said, seen)
}

fn outcome<T: Send + 'static>(
    kind: &Kind,
    registry: Option<Registry>,
    idmapped: &Path,
    calls: fn() -> T,
) -> T {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let (here, who, idmapped) = (root.path().to_owned(), kind.clone(), idmapped.to_owned());
    support::run(
        registry,
        move || {
            support::unshare_mounts();
            mount_all(&here, 0, &idmapped);
            who.become_it(&here);
        },
        calls,
    )
}

#[test]
fn mounts_of_all_kinds_answer_as_natively() {
    let (_folder, idmapped) = idmapped();
    for kind in kinds() {
        let native = outcome(&kind, None, &idmapped, calls);
        let emulated = outcome(&kind, Some(support::emulations()), &idmapped, calls);
        for (native, emulated) in native.0.iter().zip(&emulated.0) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        for (native, emulated) in native.1.iter().zip(&emulated.1) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        for errno in [Errno::ROFS, Errno::NOSPC, Errno::LOOP] {
            assert!(native.0.iter().any(|(_, said)| *said == Err(errno)), "{}: no {errno}", kind.name);
        }
        let mapped = "idmapped/made: 4";
        assert!(native.1.iter().any(|seen| seen.starts_with(mapped)), "{:?}", native.1);
    }
}

#[test]
fn mounts_of_all_kinds_answer_as_natively_in_a_user_namespace() {
    let all = |(said, seen): (Said, Vec<String>)| {
        said.into_iter().map(|said| format!("{said:?}")).chain(seen).collect::<Vec<_>>()
    };
    if let Some((root, kind)) = role() {
        kind.become_it(&root);
        return tell(&all(calls()));
    }
    let (_folder, idmapped) = idmapped();
    let program = Program::of("mounts_of_all_kinds_answer_as_natively_in_a_user_namespace");
    for kind in kinds() {
        let outcome = |registry| {
            let root = tempfile::tempdir_in("/tmp").unwrap();
            build(root.path());
            give(root.path());
            let (here, idmapped) = (root.path().to_owned(), idmapped.clone());
            program.run(registry, root.path(), &kind, move || {
                support::unshare_mounts();
                mount_all(&here, FIRST, &idmapped);
            })
        };
        let native = outcome(None);
        assert_same(kind.name, &native, &outcome(Some(support::emulations())));
        for errno in [Errno::ROFS, Errno::NOSPC, Errno::LOOP] {
            let failed = format!("code: {},", errno.raw_os_error());
            assert!(
                native.iter().any(|said| said.contains(&failed)),
                "{}: no {errno}: {native:?}",
                kind.name
            );
        }
    }
}

#[test]
fn what_is_done_later_has_later_timestamps() {
    // What has happened after which of the pauses between the calls.
    let order = || {
        let mut pauses = Vec::new();
        let mut pause = || {
            let now = SystemTime::now();
            pauses.push(now);
            // The clock that files are given the time of lags behind.
            while coarse_time() <= now {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let mode = Mode::from_raw_mode;
        pause();
        mkdirat(CWD, "plain/first", mode(0o700)).unwrap();
        pause();
        mkdirat(CWD, "plain/second", mode(0o700)).unwrap();
        pause();
        chmodat(CWD, "plain/first", mode(0o711), AtFlags::empty()).unwrap();
        pause();
        lsetxattr("plain/second", "user.x", b"", XattrFlags::empty()).unwrap();
        let mut events = Vec::new();
        for name in ["plain/first", "plain/second", "plain"] {
            let meta = fs::metadata(name).unwrap();
            for (what, seconds, nanos) in [
                ("modified", meta.mtime(), meta.mtime_nsec()),
                ("changed", meta.ctime(), meta.ctime_nsec()),
                ("read", meta.atime(), meta.atime_nsec()),
            ] {
                let time = since_1970(seconds, nanos);
                let after = pauses.iter().filter(|pause| **pause <= time).count();
                events.push((format!("{name} {what}"), after));
            }
        }
        events
    };
    let (kind, (_folder, idmapped)) = (support::tree::kind("user"), idmapped());
    let native = outcome(&kind, None, &idmapped, order);
    assert_eq!(native, outcome(&kind, Some(support::emulations()), &idmapped, order));
    assert_eq!(native.iter().map(|(_, after)| after).max(), Some(&4));
}

/// The time that the kernel gives to files (`CLOCK_REALTIME_COARSE`).
fn coarse_time() -> SystemTime {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap();
    since_1970(now.tv_sec(), now.tv_nsec())
}

fn since_1970(seconds: i64, nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds.cast_unsigned(), u32::try_from(nanos).unwrap())
}

/// `fs.protected_symlinks` for as long as this lives.
struct ProtectedLinks(String);

const PROTECTED_LINKS: &str = "/proc/sys/fs/protected_symlinks";

impl ProtectedLinks {
    fn switch_on() -> Self {
        let before = fs::read_to_string(PROTECTED_LINKS).unwrap();
        fs::write(PROTECTED_LINKS, "1").unwrap();
        Self(before)
    }
}

impl Drop for ProtectedLinks {
    fn drop(&mut self) {
        fs::write(PROTECTED_LINKS, &self.0).unwrap();
    }
}

#[test]
fn links_in_sticky_directories_are_protected_from_those_whose_they_are_not() {
    let _on = ProtectedLinks::switch_on();
    let (_folder, idmapped) = idmapped();
    let through = || {
        let mode = Mode::from_raw_mode(0o777);
        vec![
            // Only a link at the end is protected.
            chmodat(CWD, "sticky/link", mode, AtFlags::empty()),
            mkdirat(CWD, "sticky/link/made", mode),
            mknodat(CWD, "sticky/link/fifo", FileType::Fifo, mode, 0),
            lsetxattr("sticky/link/../own", "user.x", b"", XattrFlags::empty()),
        ]
    };
    for kind in kinds() {
        let native = outcome(&kind, None, &idmapped, through);
        assert_eq!(native[0], Err(Errno::ACCESS), "it is on");
        assert_eq!(native, outcome(&kind, Some(support::emulations()), &idmapped, through), "{}", kind.name);
    }
}

#[test]
fn a_program_with_capabilities_has_them_when_it_is_emulated() {
    // `CAP_DAC_OVERRIDE`, effective.
    const CAPABILITIES: &[u8] = &[1, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let said = |registry: Option<Registry>, capable: bool| {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        build(root.path());
        let program = root.path().join("busybox");
        support::copy_program("/bin/busybox", &program);
        if capable {
            lsetxattr(&program, "security.capability", CAPABILITIES, XattrFlags::empty()).unwrap();
        }
        let here = root.path().join("w");
        let status = support::run(
            registry,
            || (),
            move || {
                let mut mkdir = Command::new(program);
                mkdir.args(["mkdir", "private/made"]).current_dir(here).uid(1000).gid(1000);
                mkdir.output().unwrap().status.success()
            },
        );
        (status, fs::metadata(root.path().join("w/private/made")).map(|made| (made.uid(), made.mode())).ok())
    };
    assert!(said(None, true).0 && !said(None, false).0);
    for capable in [false, true] {
        assert_eq!(said(Some(support::emulations()), capable), said(None, capable));
    }
}
