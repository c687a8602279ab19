//! A caller on one thread and an agent on another: a filter, and with it the role of the container, belongs to
//! the thread that installs it.
#![allow(clippy::unwrap_used, dead_code)] // A failure ends the test; not every test uses all of this.

pub(crate) mod audit;
pub(crate) mod block_device;
pub(crate) mod differential;
pub(crate) mod frozen;
pub(crate) mod fuse_server;
pub(crate) mod inside;
pub(crate) mod mount_api;
pub(crate) mod mounts;
pub(crate) mod program;
pub(crate) mod race;
pub(crate) mod tree;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use nix::sched::{CloneFlags, unshare};
use rustix::event::PollFlags;
use rustix::mount::{MountPropagationFlags, mount_change};
use seccomp_agent_handlers::{Attributes, Directories, Modes, Nodes, Numbers, Owners};
use seccomp_agent_notify::{Arch, Features, Listener, ReceiveError, Response, SlotTable, Syscall, filter};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Caller, Container, Registry, Verdict};
use seccomp_agent_sandbox::confine_agent;

/// Runs `transform` and then `body` on a thread whose calls `registry` answers from in between. Calls that it
/// has no handler for are not even notified. Without a registry, everything is native.
pub(crate) fn run<T: Send + 'static>(
    registry: Option<Registry>,
    transform: impl FnOnce() + Send + 'static,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    run_with(registry, Features::probe(), transform, body)
}

/// [`run`] on a kernel that has no more than `features`.
pub(crate) fn run_with<T: Send + 'static>(
    registry: Option<Registry>,
    features: Features,
    transform: impl FnOnce() + Send + 'static,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    run_flagged(registry, features, filter::Flags::empty(), transform, body)
}

/// [`run_with`] a filter that has `flags`.
pub(crate) fn run_flagged<T: Send + 'static>(
    registry: Option<Registry>,
    features: Features,
    flags: filter::Flags,
    transform: impl FnOnce() + Send + 'static,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let names: Vec<_> = registry.iter().flat_map(Registry::names).collect();
    let (send, receive) = channel();
    let caller = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).unwrap();
        transform();
        if names.is_empty() {
            drop(send);
            return body();
        }
        send.send(install(&names, flags)).unwrap();
        drop(send);
        body()
    });
    if let (Some(registry), Ok(listener)) = (registry, receive.recv()) {
        serve(listener, &registry, features);
    }
    caller.join().unwrap()
}

/// Runs a script in busybox's shell as `uid`, on a thread that `transform` has prepared, and returns what it
/// printed. Its processes inherit the thread's filter, and are no threads of the agent's process.
pub(crate) fn script(
    registry: Option<Registry>,
    features: Features,
    uid: u32,
    transform: impl FnOnce() + Send + 'static,
    script: String,
) -> String {
    run_with(registry, features, transform, move || {
        let mut shell = Command::new("/bin/busybox");
        // No other standard input: a caller's root may have no /dev/null.
        shell.args(["sh", "-c", &script]).uid(uid).gid(uid).stdin(Stdio::inherit());
        let run = shell.output().unwrap();
        String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap()
    })
}

/// Copies a program. Not by this process: what it has open for writing while another test forks cannot be executed.
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Gives the calling thread a mount namespace of its own.
pub(crate) fn unshare_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
}

/// [`unshare_mounts`], and a pid namespace for the thread's children.
pub(crate) fn unshare_namespaces() {
    unshare_mounts();
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
}

/// Every emulation, none with a grant.
pub(crate) fn emulations() -> Registry {
    let mut registry = Registry::new();
    for name in ["mkdir", "mkdirat"] {
        registry.on(name, Directories::new()).unwrap();
    }
    for name in ["mknod", "mknodat"] {
        registry.on(name, Nodes::granting(vec![])).unwrap();
    }
    for name in ["chmod", "fchmod", "fchmodat", "fchmodat2"] {
        registry.on(name, Modes::granting(Capabilities::empty())).unwrap();
    }
    for name in ["chown", "lchown", "fchown", "fchownat", "chown32", "lchown32", "fchown32"] {
        registry.on(name, Owners::granting(Numbers::none(), Numbers::none())).unwrap();
    }
    for name in ["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"] {
        registry.on(name, Attributes::granting([""; 0])).unwrap();
    }
    registry
}

/// Installs a filter on this thread that notifies these calls on every architecture that the machine runs. Where
/// the thread may, without `no_new_privs`: files with capabilities keep their meaning.
pub(crate) fn install(names: &[&str], flags: filter::Flags) -> OwnedFd {
    let family = Arch::native().family();
    let on_all =
        |name: &&str| family.iter().filter_map(|arch| Syscall::named(*arch, name)).collect::<Vec<_>>();
    let calls: Vec<_> = names.iter().flat_map(on_all).collect();
    let program = filter::notifying(&calls);
    filter::install_with_privileges(&program, flags).or_else(|_| filter::install(&program, flags)).unwrap()
}

/// Answers until no task is left, on a thread that has no more than those of `seccomp-agent serve` have.
pub(crate) fn serve(listener: OwnedFd, registry: &Registry, features: Features) {
    let log = audit::own_log();
    let answering = || {
        audit::log_to(log);
        confine_agent().unwrap();
        answer(listener, registry, features);
    };
    std::thread::scope(|scope| scope.spawn(answering).join()).unwrap();
}

fn answer(listener: OwnedFd, registry: &Registry, features: Features) {
    let listener = Listener::new(listener).unwrap();
    let mut slot = SlotTable::new(1).unwrap().take().unwrap();
    let container = Container::named("test");
    loop {
        wait(&listener);
        if listener.poll().unwrap().contains(PollFlags::HUP) {
            return registry.ended(&container);
        }
        let notification = match listener.receive(&mut slot) {
            Ok(notification) => notification,
            Err(ReceiveError::CallerGone | ReceiveError::Interrupted) => continue,
            Err(other) => panic!("{other}"),
        };
        let caller = Caller { listener: &listener, features: &features };
        let call = Call::of_caller(&notification, &container, caller);
        let mut verdict = registry.answer(&call);
        let response = loop {
            verdict = match verdict {
                Verdict::Continue => break Response::Continue,
                Verdict::Return(value) => break Response::Return(value),
                Verdict::Errno(errno) => break Response::Errno(errno),
                Verdict::After(delay, then) => {
                    std::thread::sleep(delay);
                    *then
                }
                Verdict::Later(work) => work(&call),
                other @ Verdict::Kill => panic!("{other:?} is not served here"),
            };
        };
        let _ = listener.respond(notification.id, response);
    }
}

fn wait(listener: &Listener) {
    let mut fds = [rustix::event::PollFd::new(listener, PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}
