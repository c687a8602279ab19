use std::path::Path;

use rustix::io::Errno as SystemError;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use seccomp_agent_registry::{Call, Errno, Handler, Notice, Verdict};

use crate::cgroup::is_init;

/// Any call, whatever its arguments are: the caller's whole container is killed.
///
/// **Grants** nothing. The container's init and the caller get SIGKILL, and with the init of a pid namespace ends all
/// that is in it. A container that shares the pid namespace of others, such as the host's, loses these two only; what
/// else it runs is left to the runtime.
///
/// **Cannot know** the init where the runtime does not name it, or names it by a number of a pid namespace that the
/// agent does not see: then nothing is killed, and the call fails with EPERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KillContainer;

impl KillContainer {
    /// Kills the containers of whoever calls.
    pub const fn new() -> Self {
        Self
    }
}

/// Why a container was not killed.
#[derive(Debug, thiserror::Error)]
enum KillError {
    #[error("the caller is not visible in this pid namespace")]
    Invisible,
    #[error("its init is not known")]
    Unknown,
    #[error("process {0} is not its init")]
    NotInit(u32),
    #[error("pidfd_open of its init {pid} failed: {source}")]
    Open { pid: u32, source: SystemError },
    #[error("killing its init {pid} failed: {source}")]
    Kill { pid: u32, source: SystemError },
}

impl Handler for KillContainer {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        match kill(call) {
            Ok(false) => Verdict::Errno(Errno::PERM),
            Ok(true) => {
                call.note(|noted| {
                    noted.because("its container is killed for it").notice = Notice::Alert;
                });
                // Others may live on for a moment, but who called does nothing more.
                Verdict::Kill
            }
            Err(error) => {
                let is_noted =
                    call.note(|noted| noted.error = Some(format!("the container is not killed: {error}")));
                if !is_noted {
                    tracing::error!(
                        container = %call.container().id,
                        syscall = %call.syscall(),
                        tid = call.tid(),
                        %error,
                        "a container is not killed",
                    );
                }
                Verdict::Errno(Errno::PERM)
            }
        }
    }

    fn name(&self) -> &'static str {
        "calls"
    }
}

/// Whether it was killed: not where the caller has gone meanwhile.
fn kill(call: &Call<'_>) -> Result<bool, KillError> {
    let (tid, pid) = (call.tid(), call.container().init_pid);
    if tid == 0 {
        return Err(KillError::Invisible);
    }
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(KillError::Unknown)?;
    // Held before it is looked at: if it is alive when the signal is sent, what was read was of no other process.
    let init = pidfd_open(number, PidfdFlags::empty()).map_err(|source| KillError::Open { pid, source })?;
    if !is_init(Path::new("/proc"), pid, tid) {
        return Err(KillError::NotInit(pid));
    }
    // A caller that has gone may have had its number taken over by one of another container.
    if !call.is_valid() {
        return Ok(false);
    }
    pidfd_send_signal(&init, Signal::KILL).map_err(|source| KillError::Kill { pid, source })?;
    Ok(true)
}
