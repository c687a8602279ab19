use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, Target};
use seccomp_agent_registry::{Call, Handler, Verdict};

use crate::arguments::{lookup_flags, permissions};
use crate::emulate::{Failure, emulate_for};

/// `chmod(2)`, `fchmod(2)`, `fchmodat(2)` and `fchmodat2(2)`, made as the caller.
///
/// **Grants** any of `CAP_FOWNER` (modes of other people's files) and `CAP_FSETID` (the set-group-ID bit of a
/// file whose group the caller is not in), nothing else.
///
/// **Cannot know** what a file is for: with `CAP_FOWNER` every file that the container can reach is as if it
/// were the caller's, but for entries of procfs: they are the host's as well, and refused with EPERM.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    grant: Capabilities,
}

impl Modes {
    /// Grants what there is in `grant` of the two capabilities that count here.
    pub fn granting(grant: Capabilities) -> Self {
        Self { grant: grant & (Capabilities::FOWNER | Capabilities::FSETID) }
    }

    fn change(self, call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
        let (dirfd, path, mode, flags) = match call.syscall().name() {
            Some("fchmod") => {
                call.note(|noted| {
                    noted.asks(format_args!("fd={}", call.int_arg(0)));
                });
                let target = caller.descriptor(call.int_arg(0))?;
                return self.apply(call, caller, &target, call.arg(1));
            }
            Some("chmod") => (AT_FDCWD, call.arg(0), call.arg(1), 0),
            Some("fchmodat") => (call.int_arg(0), call.arg(1), call.arg(2), 0),
            _ => (call.int_arg(0), call.arg(1), call.arg(2), call.int_arg(3)),
        };
        let flags = lookup_flags(flags)?;
        let path = call.memory().path(path)?;
        call.note(|noted| {
            noted.path(&path);
        });
        let target = caller.target(dirfd, &path, flags)?;
        self.apply(call, caller, &target, mode)
    }

    fn apply(self, call: &Call<'_>, caller: &Caller, target: &Target, mode: u64) -> Result<Verdict, Failure> {
        let mode = permissions(mode);
        call.note(|noted| {
            noted.asks(format_args!("mode={:04o}", mode.as_raw_mode()));
        });
        caller.act(|| call.is_valid(), self.grant, |scene| scene.change_mode(scene.open(target)?, mode))?;
        Ok(Verdict::Return(0))
    }
}

impl Handler for Modes {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        emulate_for(call, |call, caller| self.change(call, caller))
    }

    fn name(&self) -> &'static str {
        "modes"
    }
}
