use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use seccomp_agent_registry::Call;

use crate::seen::FirstCaller;
#[cfg(test)]
use crate::seen::{MAX_COMM, MAX_EXE};

/// Who made each call first, for any number of threads to add to.
///
/// `/proc` is looked at when a call is seen for the first time, and at no other: so often as there are different calls.
pub(crate) struct Callers {
    programs: [OnceLock<FirstCaller>; MAX_PROGRAMS],
    /// For each place the index of a program plus 1; 0 where none is known.
    of: Box<[AtomicU8]>,
}

/// More different programs than this of one container are not kept as first callers.
const MAX_PROGRAMS: usize = 48;

/// What one kept program takes at most, besides its place in the table.
#[cfg(test)]
const TEXT: usize = MAX_COMM + MAX_EXE;

impl Callers {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            programs: [const { OnceLock::new() }; MAX_PROGRAMS],
            of: (0..places).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Notes the caller as the first at this place, if it can be told.
    pub(crate) fn note(&self, place: usize, call: &Call<'_>) {
        let Some(caller) = look(call) else { return };
        let index =
            self.programs.iter().position(|program| *program.get_or_init(|| caller.clone()) == caller);
        if let Some(mark) = index.and_then(|index| u8::try_from(index + 1).ok()) {
            self.of[place].store(mark, Ordering::Relaxed);
        }
    }

    /// Who was the first, `at` this time.
    pub(crate) fn first(&self, place: usize, at: u64) -> Option<FirstCaller> {
        let index = usize::from(self.of[place].load(Ordering::Relaxed)).checked_sub(1)?;
        let program = self.programs.get(index)?.get()?;
        Some(FirstCaller { at, ..program.clone() })
    }

    #[cfg(test)]
    pub(crate) const fn most_bytes(places: usize) -> usize {
        MAX_PROGRAMS * (size_of::<OnceLock<FirstCaller>>() + TEXT) + places
    }
}

/// Who calls; its time is left out.
pub(crate) fn look(call: &Call<'_>) -> Option<FirstCaller> {
    // 0 is a caller that is not visible from here.
    let tid = Some(call.tid()).filter(|tid| *tid != 0)?;
    let comm = fs::read(format!("/proc/{tid}/comm")).ok()?;
    let exe = fs::read_link(format!("/proc/{tid}/exe")).unwrap_or_default();
    // The thread may have been killed, and its id be another's by now.
    call.is_valid().then(|| FirstCaller::new(0, comm.trim_ascii_end(), exe.as_os_str().as_bytes()))
}
