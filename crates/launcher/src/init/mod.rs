//! The container's first process: prepares the container, starts the command as its second, and stays.
//!
//! It stays because the first process of a pid namespace is special: the kernel drops signals that it does not
//! handle, and whatever loses its parent becomes its child. The command is to be an ordinary process. When init
//! ends, the kernel ends all others; it ends when the command has, or when the launcher is gone.

mod command;
mod devices;
mod failure;
mod mask;
mod mount;
mod rootfs;
mod watch;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_name};

use crate::channel::Channel;
use crate::error::OWN_FAILURE;
use crate::plan::{Plan, Report};
use crate::shared::{Loaded, Shared};
use crate::spawn::{self, Fork};
use failure::{Failure, step};

/// What a container's init is called: its first argument. The second is the number of its socket, the others
/// are the command's.
pub(crate) const INIT_NAME: &str = "seccomp-agent-init";

/// Whether `main` has called [`run_if_init`].
static PREPARED: AtomicBool = AtomicBool::new(false);

/// How often to look whether the filter is loaded, which takes some microseconds.
const LOAD_POLL: Duration = Duration::from_micros(20);

/// To be called first thing in `main`, before there is a second thread: a [`Launcher`](crate::Launcher) starts
/// this very program again to be the container's init. `Some` then: return it from `main`. Else `None`, and
/// this process can launch containers.
pub fn run_if_init() -> Option<ExitCode> {
    PREPARED.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os();
    if arguments.next()? != INIT_NAME {
        return None;
    }
    let socket = arguments.next().and_then(|number| number.to_str()?.parse().ok());
    let socket = socket.and_then(|number| spawn::inherited(number).ok());
    // Without a socket, somebody has started us by that name.
    let channel = Channel::from_fd(socket?);
    Some(match run(&channel, &arguments.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If nobody listens any more, nobody wants to know.
            let _sent = channel.send(&failure.report(), &[]);
            ExitCode::from(OWN_FAILURE)
        }
    })
}

/// Whether `main` has called [`run_if_init`].
pub(crate) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}

fn run(channel: &Channel, command: &[OsString]) -> Result<(), Failure> {
    let plan: Plan = match channel.receive() {
        Ok(Some((plan, _))) => plan,
        Ok(None) => return Ok(()),
        Err(errno) => return Err(step("receiving the plan")(errno)),
    };
    // A name is all that this is about.
    let _named = set_name(c"seccomp-init");
    // The container's processes may not look into this one: it has seen the host.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("PR_SET_DUMPABLE"))?;
    close_on_exec_all()?;
    let children = watch_children()?;

    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(step("making mounts private"))?;
    match &plan.rootfs {
        Some(rootfs) => rootfs::enter(rootfs)?,
        None => mount::fresh_proc_and_mqueue()?,
    }
    mask::mask()?;
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).map_err(step("sethostname"))?;
    }

    let shared = Shared::new().map_err(step("sharing memory with the command"))?;
    let pid = match spawn::fork_sharing_descriptors().map_err(step("fork"))? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let failure = command::become_command(&plan, command, &shared);
            let _sent = channel.send(&failure.report(), &[]);
            // Nothing may be dropped here: the descriptors are init's as well.
            spawn::exit_at_once();
        }
    };
    give_up_capabilities()?;
    if plan.bound_to_thread {
        // Only now: a change of capabilities undoes it. If the thread was gone before, its socket is as well.
        set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(step("PR_SET_PDEATHSIG"))?;
    }
    if hand_over(channel, pid, &shared)? {
        watch::watch(channel, &children, pid, &shared, command)?;
    }
    Ok(())
}

/// Sends the command's pidfd and listener once its filter is loaded. False: the command has failed before, and
/// has said so itself.
fn hand_over(channel: &Channel, pid: Pid, shared: &Shared) -> Result<bool, Failure> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(step("pidfd_open of the command"))?;
    let listener = loop {
        match shared.loaded() {
            // Taken over: the command, which blocks in its next call or has executed and thereby closed its own,
            // has no use for it.
            Some(Loaded::Listener(number)) => {
                break Some(spawn::inherited(number).map_err(step("taking the listener"))?);
            }
            Some(Loaded::Alone) => break None,
            None if watch::has_ended(pid)? => return Ok(false),
            None => std::thread::sleep(LOAD_POLL),
        }
    };
    let fds: Vec<_> =
        [Some(pidfd.as_fd()), listener.as_ref().map(AsFd::as_fd)].into_iter().flatten().collect();
    channel.send(&Report::Loaded, &fds).map_err(step("handing over the listener"))?;
    Ok(true)
}

/// Descriptors above standard error stay on the host's side.
fn close_on_exec_all() -> Result<(), Failure> {
    let open =
        std::fs::read_dir("/proc/self/fd").map_err(|error| Failure::new("reading /proc/self/fd", &error))?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number| *number > 2).collect::<Vec<_>>() {
        spawn::close_on_exec(number);
    }
    Ok(())
}

/// Unblocks all signals but SIGCHLD, which becomes readable.
fn watch_children() -> Result<SignalFd, Failure> {
    let mask = SigSet::from(Signal::SIGCHLD);
    let failed = |errno: nix::Error| Failure::new("waiting for SIGCHLD", &errno);
    mask.thread_set_mask().map_err(failed)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// Waiting takes none.
fn give_up_capabilities() -> Result<(), Failure> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(step("giving up capabilities"))
}
