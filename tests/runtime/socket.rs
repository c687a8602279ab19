//! The path that the agent serves: what it replaces, and what it leaves alone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Daemon, Ended, binaries, run_for};

fn serve(path: &Path) -> Ended {
    let mut command = Command::new(binaries::agent().unwrap());
    run_for(Duration::from_secs(10), command.arg("serve").arg("--socket").arg(path)).unwrap()
}

#[test]
fn only_the_owner_may_connect() {
    let bed = Bed::new().unwrap();
    let _daemon = Daemon::serve(&bed, &[]).unwrap();
    let mode = bed.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
}

#[test]
fn a_stale_socket_is_replaced() {
    let bed = Bed::new().unwrap();
    drop(UnixListener::bind(bed.socket()).unwrap());
    let mut daemon = Daemon::serve(&bed, &[]).unwrap();
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn a_socket_left_by_a_killed_agent_is_replaced() {
    let bed = Bed::new().unwrap();
    drop(Daemon::serve(&bed, &[]).unwrap());
    assert!(bed.socket().exists());
    Daemon::serve(&bed, &[]).unwrap();
}

#[test]
fn a_live_socket_is_an_error_and_goes_on_living() {
    let bed = Bed::new().unwrap();
    let mut first = Daemon::serve(&bed, &[]).unwrap();
    let ended = serve(&bed.socket());
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains(&*bed.socket().to_string_lossy()), "{ended}");
    assert!(std::os::unix::net::UnixStream::connect(bed.socket()).is_ok());
    assert_eq!(first.stop().unwrap().code(), Some(0));
}

#[test]
fn what_is_no_socket_is_an_error_that_says_what_it_is_and_is_left_alone() {
    let bed = Bed::new().unwrap();
    let file = bed.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let directory = bed.subdirectory("directory.").unwrap();
    let link = bed.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for (path, what) in [(&file, "file"), (&directory, "directory"), (&link, "link")] {
        let ended = serve(path);
        assert_eq!(ended.status.code(), Some(1), "{what}: {ended}");
        assert!(ended.stderr.contains(what), "{what}: {ended}");
        assert!(path.symlink_metadata().is_ok(), "{what}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_directory_that_does_not_exist_is_an_error_with_its_name() {
    let bed = Bed::new().unwrap();
    let ended = serve(&bed.path().join("nowhere/agent.socket"));
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains("nowhere/agent.socket"), "{ended}");
}
