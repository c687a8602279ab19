//! A pid namespace whose init kills whatever is born there, on kernels where something of ours has to be. Needs
//! root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MntFlags, MsFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccomp_agent_handlers::Mount;
use seccomp_agent_notify::Features;
use support::audit::{audited, record};

const MOUNTS: usize = 1000;

/// Where [`init`] is to mount; it does nothing without.
const TARGET: &str = "HOSTILE_INIT_TARGET";

#[test]
fn killing_what_is_born_in_the_namespace_costs_us_no_descriptor() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let target = folder.path().to_owned();
    let registry = support::mounts::registry(&Mount::procfs());
    let transform = || {
        support::unshare_namespaces();
        remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN).unwrap();
    };
    let without_the_option = Features { proc_pidns: false, ..Features::probe() };
    let start = move || {
        let mut init = Command::new("/proc/self/exe");
        init.args(["--exact", "init", "--nocapture"]).env(TARGET, target).uid(0).output().unwrap()
    };
    let (run, records) =
        record(|| support::run_with(Some(audited(registry)), without_the_option, transform, start));
    records.assert_refused(&[("handler", "mount"), ("errno", "EINTR")]);
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("some were interrupted"), "{said}");
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let left: Vec<_> = open.filter(|fd| fd.to_string_lossy().contains("fscontext")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// No test of its own: the program that the other one runs as the namespace's init.
#[test]
fn init() {
    let Some(target) = std::env::var_os(TARGET) else { return };
    let ended = AtomicBool::new(false);
    let interrupted = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // All but ourselves. Nobody is there most of the time.
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
        });
        let mount = || {
            let done =
                nix::mount::mount(Some("proc"), &*target, Some("proc"), MsFlags::empty(), None::<&str>);
            // There may be only so many at once. One that was interrupted has left none.
            let _ = nix::mount::umount2(&*target, MntFlags::MNT_DETACH);
            done
        };
        let outcomes: Vec<_> = (0..MOUNTS).map(|_| mount()).collect();
        ended.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(nix::Error::EINTR))));
        outcomes.iter().filter(|outcome| outcome.is_err()).count()
    });
    assert!(interrupted < MOUNTS);
    if interrupted > 0 {
        #[allow(clippy::print_stdout)] // It is what the other test reads.
        {
            println!("some were interrupted");
        }
    }
}
