use std::collections::VecDeque;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seccomp_agent_registry::{Call, Errno, Handler, Notice, Syscall, Verdict};

use crate::cgroup::Freezer;

/// Any call, whatever its arguments are: the caller's container is frozen, so that somebody can look at it. When
/// it is thawed, the call fails.
///
/// **Grants** nothing. The container's cgroup stays frozen until somebody thaws it: with the runtime (`runc
/// resume`, `podman unpause`), or by the file that the record names. Calls that the container makes then freeze
/// it again.
///
/// **Cannot know** which tasks outside that cgroup belong to the container. The roots of the hierarchies, the
/// agent's own cgroup and what contains it are never frozen; then, and wherever there is no freezer, the call just
/// fails. In the first version of cgroups a frozen task cannot be killed before it is thawed. Who may write to the
/// cgroup, as a container with a writable cgroup file system can to its own, may have thawed it in advance
/// somewhere below.
#[derive(Debug)]
pub struct Freeze {
    errno: Errno,
    frozen: Arc<Mutex<Frozen>>,
}

/// Calls whose container was frozen: freezing interrupts them, and the kernel makes them again afterwards.
type Frozen = VecDeque<Made>;

/// How a call that is made again is recognised: task, call, arguments and place in the program.
type Made = (u32, Syscall, [u64; 6], u64);

/// How many such calls are remembered. One that is forgotten freezes its container once more.
const MAX_FROZEN: usize = 64;

/// How long to wait until all tasks have stopped. One that waits in the kernel may stop much later, and the call
/// itself, where signals cannot interrupt it, only after its answer.
const PATIENCE: Duration = Duration::from_millis(500);

impl Freeze {
    /// Freezes; the call fails with `errno` when the container goes on, or at once if it cannot be frozen.
    pub fn failing_with(errno: Errno) -> Self {
        Self { errno, frozen: Arc::default() }
    }
}

impl Handler for Freeze {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if take(&self.frozen, &made(call)) {
            call.note(|noted| {
                noted.because("its container was frozen for it, and goes on");
            });
            return Verdict::Errno(self.errno);
        }
        let (errno, frozen) = (self.errno, Arc::clone(&self.frozen));
        Verdict::later(move |call| {
            freeze(call, &frozen);
            Verdict::Errno(errno)
        })
    }

    fn name(&self) -> &'static str {
        "calls"
    }
}

fn freeze(call: &Call<'_>, frozen: &Mutex<Frozen>) {
    let found = match call.tid() {
        0 => return report(call, &"the caller is not visible in this pid namespace"),
        tid => Freezer::of_container(Path::new("/proc"), tid, call.container().init_pid),
    };
    let mut cgroup = match found {
        Ok(cgroup) => cgroup,
        Err(error) => return report(call, &error),
    };
    // Before anything is frozen: the call may be made again as soon as somebody thaws it.
    remember(frozen, made(call));
    if !call.is_valid() {
        take(frozen, &made(call));
        return;
    }
    if let Err(error) = cgroup.freeze() {
        take(frozen, &made(call));
        return report(call, &error);
    }
    told(call, &cgroup);
    cgroup.wait(PATIENCE);
    if call.is_valid() {
        // It was not interrupted, so its answer reaches it.
        take(frozen, &made(call));
    }
}

fn made(call: &Call<'_>) -> Made {
    let notification = call.notification();
    (notification.tid, notification.syscall, notification.args, notification.instruction_pointer)
}

fn remember(frozen: &Mutex<Frozen>, made: Made) {
    let mut frozen = frozen.lock().unwrap_or_else(PoisonError::into_inner);
    if frozen.len() == MAX_FROZEN {
        frozen.pop_front();
    }
    frozen.push_back(made);
}

/// Forgets a call; whether it was remembered.
fn take(frozen: &Mutex<Frozen>, made: &Made) -> bool {
    let mut frozen = frozen.lock().unwrap_or_else(PoisonError::into_inner);
    let found = frozen.iter().position(|one| one == made);
    found.is_some_and(|index| frozen.remove(index).is_some())
}

fn told(call: &Call<'_>, cgroup: &Freezer) {
    let (switch, thaw) = (cgroup.switch(), cgroup.thaw());
    let is_noted = call.note(|noted| {
        noted.asks(format_args!("frozen={:?} thaw={thaw}", switch.to_string_lossy()));
        noted.because("frozen until somebody thaws it").notice = Notice::Alert;
    });
    if !is_noted {
        tracing::warn!(
            container = %call.container().id,
            syscall = %call.syscall(),
            tid = call.tid(),
            frozen = ?switch,
            thaw,
            "a container is frozen",
        );
    }
}

fn report(call: &Call<'_>, error: &dyn Display) {
    if !call.note(|noted| noted.error = Some(format!("the container is not frozen: {error}"))) {
        tracing::error!(
            container = %call.container().id,
            syscall = %call.syscall(),
            tid = call.tid(),
            error = error.to_string(),
            "a container is not frozen",
        );
    }
}
