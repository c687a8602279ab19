use rustix::fs::mkdirat;
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, EntryPath};
use seccomp_agent_registry::{Call, Handler, Verdict};

use crate::arguments::permissions;
use crate::emulate::{Failure, emulate, emulate_for, open_caller};

/// `mkdir(2)` and `mkdirat(2)`, made as the caller: owner, umask, set-group-ID and default ACLs of the parent
/// count as natively.
///
/// **Grants** nothing beyond what the caller could do itself. It can append a suffix to the new directory's
/// name.
///
/// **Cannot know** whether a caller that is interrupted after the directory was made calls again: it then gets
/// EEXIST for its own directory, as after an interrupted call on a network file system.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    suffix: String,
}

impl Directories {
    /// Directories with the names that callers give them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Directories whose names end in `suffix`. Slashes and NUL bytes in it are dropped; `.` and `..` are no
    /// new names and get none.
    pub fn with_suffix(suffix: impl Into<String>) -> Self {
        Self { suffix: suffix.into() }
    }

    fn make(&self, call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
        let (dirfd, path, mode) = match call.syscall().name() {
            Some("mkdir") => (AT_FDCWD, call.arg(0), call.arg(1)),
            _ => (call.int_arg(0), call.arg(1), call.arg(2)),
        };
        let path = call.memory().path(path)?;
        let mode = permissions(mode);
        call.note(|noted| {
            noted.path(&path).asks(format_args!("mode={:04o}", mode.as_raw_mode()));
            if !self.suffix.is_empty() {
                noted.asks(format_args!("suffix={:?}", self.suffix));
            }
        });
        let base = caller.base(dirfd, &path)?;
        let entry = EntryPath::with_suffix(&path, &self.suffix);
        caller.act(
            || call.is_valid(),
            Capabilities::empty(),
            |scene| {
                let place = scene.place(&base, &entry)?;
                mkdirat(place.directory(), place.name(), mode)
            },
        )?;
        Ok(Verdict::Return(0))
    }
}

impl Handler for Directories {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if self.suffix.is_empty() {
            return emulate_for(call, |call, caller| self.make(call, caller));
        }
        // The kernel would make it without the suffix.
        emulate(call, |call| self.make(call, &open_caller(call)?))
    }

    fn name(&self) -> &'static str {
        "directories"
    }
}
