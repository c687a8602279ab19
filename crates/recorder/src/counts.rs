use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use seccomp_agent_registry::Notification;
use seccomp_agent_syscall::{Arch, Syscall};

use crate::arguments::Arguments;
use crate::values::Values;
use crate::watched::{WATCHED, Watched};

/// Places for the calls of one architecture. Numbers go to 547 (x32); new calls are added below 512, one number for
/// all architectures.
pub(crate) const PLACES: usize = 576;

/// What one container did, for any number of threads to add to: no lock, no allocation, no system call.
pub(crate) struct Counts {
    family: &'static [Arch],
    /// [`PLACES`] for each architecture of the family.
    cells: Box<[Cell]>,
    /// [`WATCHED`] for each architecture of the family.
    values: Box<[Values]>,
    /// How often a runtime made the native call of this place, before it started the program.
    starting: Box<[AtomicU32]>,
    /// Calls that have no place: of no architecture of this machine, or with a number beyond all tables.
    elsewhere: AtomicU64,
}

/// One call of one architecture.
#[derive(Default)]
struct Cell {
    count: AtomicU64,
    /// Seconds since 1970; 0 while there is none.
    first: AtomicU32,
    last: AtomicU32,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) syscall: Syscall,
    pub(crate) count: u64,
    pub(crate) starting: u64,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let family = Arch::native().family();
        Self {
            family,
            cells: (0..family.len() * PLACES).map(|_| Cell::default()).collect(),
            values: (0..family.len() * WATCHED).map(|_| Values::default()).collect(),
            starting: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            elsewhere: AtomicU64::new(0),
        }
    }

    /// Counts one call.
    pub(crate) fn add(&self, notification: &Notification) {
        let syscall = notification.syscall;
        let Some((arch, place)) = self.find(syscall) else {
            self.elsewhere.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let index = arch * PLACES + place;
        if let Some(watched) = watched(index) {
            let packed = Watched::by_index(watched).and_then(|watched| watched.pack(&notification.args));
            self.values[arch * WATCHED + watched].add(packed);
        }
        let cell = &self.cells[index];
        let now = now();
        if cell.count.fetch_add(1, Ordering::Relaxed) == 0 {
            cell.first.store(now, Ordering::Relaxed);
        }
        if cell.last.load(Ordering::Relaxed) != now {
            cell.last.store(now, Ordering::Relaxed);
        }
    }

    /// Says of calls that were counted before that they were a runtime's.
    pub(crate) fn were_starting(&self, place: usize, count: u32) {
        self.starting[place].fetch_add(count, Ordering::Relaxed);
    }

    /// All calls that were made.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = Tally> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(index, cell)| {
            let count = cell.count.load(Ordering::Relaxed);
            let arch = self.family[index / PLACES];
            let is_native = index < PLACES;
            let starting = if is_native { self.starting[index].load(Ordering::Relaxed) } else { 0 };
            let last = cell.last.load(Ordering::Relaxed);
            // The thread that made the first call may not have come to the time yet.
            let first = Some(cell.first.load(Ordering::Relaxed)).filter(|first| *first != 0).unwrap_or(last);
            (count > 0).then(|| Tally {
                syscall: at(arch, index % PLACES),
                count,
                starting: u64::from(starting).min(count),
                first: first.min(last),
                last,
            })
        })
    }

    /// What is known of the arguments of a call that is watched.
    pub(crate) fn arguments(&self, syscall: Syscall) -> Option<Arguments> {
        let (index, watched) = Watched::find(syscall)?;
        let (arch, _) = self.find(syscall)?;
        let values = self.values[arch * WATCHED + index].all();
        let unpacked = values.map(|all| all.map(|packed| watched.unpack(packed)).collect());
        Some(unpacked.map_or(Arguments::Any, Arguments::new))
    }

    pub(crate) fn elsewhere(&self) -> u64 {
        self.elsewhere.load(Ordering::Relaxed)
    }

    fn find(&self, syscall: Syscall) -> Option<(usize, usize)> {
        let arch = self.family.iter().position(|arch| *arch == syscall.arch)?;
        Some((arch, place(syscall)?))
    }
}

/// The place of a call among those of its architecture.
pub(crate) fn place(syscall: Syscall) -> Option<usize> {
    let number = match syscall.arch {
        Arch::X32 => syscall.number & !X32_BIT,
        // `__ARM_NR_BASE`, of a few private calls: behind all others.
        Arch::Arm if (ARM_PRIVATE..ARM_PRIVATE + 16).contains(&syscall.number) => {
            syscall.number - ARM_PRIVATE + ARM_PLACE
        }
        _ => syscall.number,
    };
    usize::try_from(number).ok().filter(|number| *number < PLACES)
}

/// The call that has this place.
fn at(arch: Arch, place: usize) -> Syscall {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    let number = match arch {
        Arch::X32 => place | X32_BIT,
        Arch::Arm if place >= ARM_PLACE => place - ARM_PLACE + ARM_PRIVATE,
        _ => place,
    };
    Syscall::new(arch, number)
}

/// The index in the table of watched calls of the call at this place, if it is one.
fn watched(index: usize) -> Option<usize> {
    static INDICES: LazyLock<Box<[u8]>> = LazyLock::new(|| {
        let family = Arch::native().family().iter();
        let calls = family.flat_map(|arch| (0..PLACES).map(|place| at(*arch, place)));
        let index = |call| Watched::find(call).and_then(|(index, _)| u8::try_from(index).ok());
        calls.map(|call| index(call).unwrap_or(u8::MAX)).collect()
    });
    INDICES.get(index).map(|index| usize::from(*index)).filter(|index| *index < WATCHED)
}

/// `__X32_SYSCALL_BIT`.
const X32_BIT: u32 = 0x4000_0000;
const ARM_PRIVATE: u32 = 0x000f_0000;
const ARM_PLACE: u32 = 560;

/// Seconds since 1970, by the clock that is read without a system call whatever the machine's clock source is.
fn now() -> u32 {
    u32::try_from(clock_gettime(ClockId::RealtimeCoarse).tv_sec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn a_container_takes_at_most_64_kib() {
        let archs = 3;
        let bytes = archs * (PLACES * size_of::<Cell>() + WATCHED * size_of::<Values>()) + PLACES * 4;
        assert!(bytes <= 64 << 10, "{bytes} bytes");
        assert!(Arch::all().all(|arch| arch.family().len() <= archs));
    }

    #[test]
    fn every_call_of_every_machine_that_this_is_built_for_has_a_place_of_its_own() {
        let is_mips = |arch: &Arch| arch.name().starts_with("mips");
        for arch in Arch::all().filter(|arch| !is_mips(arch)) {
            for call in Syscall::all(arch) {
                let place = place(call).unwrap_or_else(|| panic!("{call} of {arch} has no place"));
                assert_eq!(at(arch, place), call, "{call} of {arch}");
            }
        }
    }

    #[test]
    fn calls_are_told_apart_by_architecture() {
        let counts = Counts::new();
        let mut notification = Notification::sample("getppid");
        for arch in Arch::native().family() {
            notification.syscall = Syscall::named(*arch, "getppid").unwrap();
            counts.add(&notification);
        }
        counts.add(&notification);
        let seen: Vec<_> = counts.tallies().map(|tally| (tally.syscall.arch, tally.count)).collect();
        let archs = Arch::native().family();
        let expected = archs.iter().enumerate().map(|(i, arch)| (*arch, 1 + u64::from(i + 1 == archs.len())));
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }

    #[test]
    fn no_number_is_out_of_bounds() {
        let counts = Counts::new();
        let mut notification = Notification::sample("getppid");
        for number in [u32::MAX, 0x4000_0000, 0x4000_0000 - 1, 4096, 576] {
            notification.syscall = Syscall::new(Arch::native(), number);
            counts.add(&notification);
        }
        notification.syscall = Syscall::new(Arch::Unknown, 1);
        counts.add(&notification);
        assert_eq!((counts.elsewhere(), counts.tallies().count()), (6, 0));
    }

    #[test]
    fn first_and_last_are_now() {
        let counts = Counts::new();
        let before = now();
        counts.add(&Notification::sample("getppid"));
        let tally = counts.tallies().next().unwrap();
        assert!(before > 0 && (before..=now()).contains(&tally.first) && tally.last >= tally.first);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let counts = Counts::new();
        let notification = Notification::sample("getppid");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counts.add(&notification)));
            }
        });
        assert_eq!(counts.tallies().map(|tally| tally.count).sum::<u64>(), 4000);
    }
}
