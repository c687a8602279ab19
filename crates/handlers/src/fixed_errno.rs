use seccomp_agent_registry::{Call, Errno, Handler, Verdict};

/// Any call, refused with one error.
///
/// **Grants** nothing, reads nothing. Unlike `SCMP_ACT_ERRNO` in a profile it can be changed while the container
/// runs.
#[derive(Clone, Copy, Debug)]
pub struct FixedErrno(pub Errno);

impl Handler for FixedErrno {
    fn handle(&self, _: &Call<'_>) -> Verdict {
        Verdict::Errno(self.0)
    }

    fn may_block(&self) -> bool {
        false
    }
}
