//! What a confined thread can do, asked of the kernel. Filters and Landlock hold for a thread and those that it starts, so
//! each test confines threads of its own; nothing here takes privileges.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::unistd::{Pid, chroot, getuid, pipe};
use seccomp_agent_sandbox::{ControlPlane, Files, Landlock, confine_agent};

/// A call, and what it says to whom no sandbox keeps from it.
type Deed = (&'static str, fn() -> Errno);

fn errno<T>(outcome: nix::Result<T>) -> Errno {
    outcome.err().unwrap_or(Errno::from_raw(0))
}

fn execute() -> Errno {
    let outcome = Command::new("/bin/true").status();
    outcome.err().map_or(Errno::from_raw(0), |error| Errno::from_raw(error.raw_os_error().unwrap()))
}

/// What no thread of the agent may do.
const NOBODY: [Deed; 3] = [
    ("execve", execute),
    ("ptrace", || errno(ptrace::attach(Pid::from_raw(i32::MAX)))),
    ("memfd_create", || errno(memfd_create("code", MFdFlags::empty()))),
];

/// What those that act may do, and the control plane may not.
const ACTING: [Deed; 4] = [
    ("setns", || errno(setns(pipe().unwrap().0, CloneFlags::empty()))),
    ("chroot", || errno(chroot("/does/not/exist"))),
    ("umount2", || errno(umount2("/does/not/exist", MntFlags::MNT_DETACH))),
    ("unshare", || errno(unshare(CloneFlags::CLONE_FS))),
];

fn on_a_thread<T: Send>(deed: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(deed).join().unwrap())
}

fn confine_control(files: Files) -> Landlock {
    confine_agent().unwrap();
    ControlPlane::new(files).unwrap().confine().unwrap()
}

#[test]
fn nobody_executes_or_traces_or_makes_a_file_of_nothing() {
    for (name, deed) in NOBODY {
        assert_ne!(on_a_thread(deed), Errno::EPERM, "{name}");
        let confined = on_a_thread(|| {
            confine_agent().unwrap();
            // Those that it starts are confined with it.
            on_a_thread(deed)
        });
        assert_eq!(confined, Errno::EPERM, "{name}");
    }
}

#[test]
fn the_control_plane_does_nothing_of_what_acting_takes() {
    for (name, deed) in ACTING {
        let acting = || on_a_thread(|| on_a_thread(|| confine_agent().map(|()| deed())).unwrap());
        // Without root, the kernel says EPERM to some of it.
        if getuid().is_root() {
            assert_ne!(acting(), Errno::EPERM, "{name}");
        }
        let confined = on_a_thread(|| {
            confine_control(Files::default());
            on_a_thread(deed)
        });
        assert_eq!(confined, Errno::EPERM, "{name}");
    }
}

#[test]
fn a_thread_is_confined_by_seccomp_and_gains_no_privileges() {
    let status = on_a_thread(|| {
        confine_agent().unwrap();
        fs::read_to_string("/proc/thread-self/status").unwrap()
    });
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.lines().any(|found| found == line), "{status}");
    }
}

#[test]
fn the_control_plane_has_its_files_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["read", "write", "remove", "other"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("file"), name).unwrap();
    }
    let files = Files {
        read: vec![at("read"), at("not there")],
        write: vec![at("write")],
        remove: vec![at("remove")],
    };
    let denied = |outcome: std::io::Result<()>, what: &Path| {
        assert_eq!(
            outcome.map_err(|error| error.kind()),
            Err(ErrorKind::PermissionDenied),
            "{}",
            what.display()
        );
    };
    on_a_thread(|| {
        if confine_control(files) == Landlock::Missing {
            return;
        }
        assert_eq!(fs::read_to_string(at("read/file")).unwrap(), "read");
        for file in ["read/file", "read/new", "remove/file", "other/file"] {
            denied(fs::write(at(file), ""), &at(file));
        }
        for file in ["other/file", "remove/file"] {
            denied(fs::read(at(file)).map(drop), &at(file));
        }
        denied(fs::remove_file(at("read/file")), &at("read/file"));
        // As recordings are written.
        fs::create_dir(at("write/below")).unwrap();
        fs::write(at("write/below/.new"), "new").unwrap();
        fs::rename(at("write/below/.new"), at("write/file")).unwrap();
        assert_eq!(fs::read_to_string(at("write/file")).unwrap(), "new");
        fs::remove_file(at("remove/file")).unwrap();
    });
}

#[test]
fn a_panic_of_the_control_plane_says_where_it_happened() {
    let own = std::env::current_exe().unwrap();
    let files = Files { read: vec![own, "/proc".into(), "/usr".into()], ..Files::default() };
    let trace = on_a_thread(|| {
        confine_control(files);
        std::backtrace::Backtrace::force_capture().to_string()
    });
    assert!(trace.contains("a_panic_of_the_control_plane"), "{trace}");
}

#[test]
fn the_control_plane_accepts_where_it_listened_before_and_listens_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
    on_a_thread(|| {
        confine_control(Files::default());
        listener.accept().unwrap();
        let error = TcpListener::bind("127.0.0.1:0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    });
    client.join().unwrap();
}
