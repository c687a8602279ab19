//! Files of the host handed to callers. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::{Errno, FdFlags, fcntl_getfd, read, write};
use seccomp_agent_handlers::{HostFile, Openings};
use seccomp_agent_registry::Registry;

/// A container's root, and files of the host that only root may read, by the names that the container has for
/// them.
fn host() -> (tempfile::TempDir, Registry) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    let secret = root.path().join("secret");
    fs::create_dir(&secret).unwrap();
    for name in ["read", "write"] {
        fs::write(secret.join(name), name).unwrap();
    }
    fs::create_dir(secret.join("folder")).unwrap();
    fs::write(secret.join("folder/in"), "in").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o700)).unwrap();
    let file = |path: &str, host: &Path, read_only| HostFile {
        path: CString::new(path).unwrap(),
        host: CString::new(host.as_os_str().as_bytes()).unwrap(),
        read_only,
    };
    let files = vec![
        file("/granted/read", &secret.join("read"), true),
        file("/granted/write", &secret.join("write"), false),
        file("/granted/folder", &secret.join("folder"), true),
        file("/granted/null", Path::new("/dev/null"), false),
        file("/granted/missing", &secret.join("missing"), false),
    ];
    let mut registry = Registry::new();
    for name in ["open", "openat", "openat2", "creat"] {
        registry.on(name, Openings::granting(files.clone()).unwrap()).unwrap();
    }
    (root, registry)
}

fn as_user<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (root, registry) = host();
    let user = support::tree::kinds().into_iter().find(|kind| kind.name == "user, chrooted").unwrap();
    let here = root.path().to_owned();
    support::run(Some(registry), move || user.become_it(&here), body)
}

fn content(file: &OwnedFd) -> Vec<u8> {
    let mut content = vec![0; 64];
    let len = read(file, &mut content).unwrap();
    content.truncate(len);
    content
}

#[test]
fn listed_files_are_handed_in_by_every_call() {
    let (plain, closing, how) = as_user(|| {
        let plain = open("/granted/read", OFlags::RDONLY, Mode::empty()).unwrap();
        let closing = open("/granted/write", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let how =
            openat2(CWD, "/granted/read", OFlags::RDONLY, Mode::empty(), ResolveFlags::empty()).unwrap();
        write(&closing, b"W").unwrap();
        ((content(&plain), fcntl_getfd(&plain).unwrap()), fcntl_getfd(&closing).unwrap(), content(&how))
    });
    assert_eq!(plain, (b"read".to_vec(), FdFlags::empty()));
    assert_eq!((closing, how), (FdFlags::CLOEXEC, b"read".to_vec()));
}

#[test]
fn what_is_read_only_cannot_be_written_to() {
    let said = as_user(|| {
        [OFlags::WRONLY, OFlags::RDWR, OFlags::RDONLY | OFlags::TRUNC, OFlags::WRONLY | OFlags::CREATE]
            .map(|flags| open("/granted/read", flags, Mode::RWXU).map(drop))
    });
    assert_eq!(said, [Err(Errno::ROFS); 4]);
}

#[test]
fn a_directory_is_entered_but_not_left() {
    let (inside, said) = as_user(|| {
        let folder = open("/granted/folder", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let inside = content(&openat(&folder, "in", OFlags::RDONLY, Mode::empty()).unwrap());
        let said = ["../read", "../../secret/read", "../../../../etc/passwd"]
            .map(|path| openat(&folder, path, OFlags::RDONLY, Mode::empty()).map(drop));
        (inside, said)
    });
    assert_eq!(inside, b"in");
    assert_eq!(said, [Err(Errno::NOENT); 3]);
}

#[test]
fn everything_else_is_the_containers_own() {
    let said = as_user(|| {
        let open = |path: &str, flags| open(path, flags, Mode::empty()).map(drop);
        [
            open("/w/own", OFlags::RDONLY),
            open("/secret/read", OFlags::RDONLY),
            open("/granted//read", OFlags::RDONLY),
            open("/granted/missing", OFlags::RDWR | OFlags::CREATE),
            open("/granted/write", OFlags::RDWR | OFlags::CREATE | OFlags::EXCL),
            openat2(CWD, "/granted/read", OFlags::RDONLY, Mode::empty(), ResolveFlags::BENEATH).map(drop),
            open("/granted/null", OFlags::WRONLY),
            open("", OFlags::RDONLY),
        ]
    });
    let (denied, missing) = (Err(Errno::ACCESS), Err(Errno::NOENT));
    let expected = [Ok(()), denied, missing, missing, Err(Errno::EXIST), Err(Errno::XDEV), Ok(()), missing];
    assert_eq!(said, expected);
}
