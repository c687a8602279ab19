use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use seccomp_agent_registry::Call;
use seccomp_agent_syscall::{Arch, Syscall};

use crate::arguments::Arguments;
use crate::callers::Callers;
use crate::seen::{Origin, Seen};
use crate::values::Values;
use crate::watched::{WATCHED, Watched};

/// Places for the calls of one architecture. Numbers go to 547 (x32); new calls are added below 512, one number for
/// all architectures.
pub(crate) const PLACES: usize = 576;

/// What one container did, for any number of threads to add to: no lock, and neither allocation nor system call but for
/// a call that is seen for the first time.
pub(crate) struct Counts {
    family: &'static [Arch],
    /// [`PLACES`] for each architecture of the family.
    cells: Box<[Cell]>,
    /// [`WATCHED`] for each architecture of the family.
    values: Box<[Values]>,
    /// How often a runtime made the native call of this place, before it started the program.
    starting: Box<[AtomicU32]>,
    /// For each cell the bits of [`ORIGINS`].
    by: Box<[AtomicU8]>,
    callers: Callers,
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

/// Each has the bit of its index.
const ORIGINS: [Origin; 3] = [Origin::Start, Origin::Exec, Origin::Probe];

impl Counts {
    pub(crate) fn new() -> Self {
        let family = Arch::native().family();
        Self {
            family,
            cells: (0..family.len() * PLACES).map(|_| Cell::default()).collect(),
            values: (0..family.len() * WATCHED).map(|_| Values::default()).collect(),
            starting: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            by: (0..family.len() * PLACES).map(|_| AtomicU8::new(0)).collect(),
            callers: Callers::new(family.len() * PLACES),
            elsewhere: AtomicU64::new(0),
        }
    }

    /// How many different calls have a place of their own.
    pub(crate) fn places(&self) -> usize {
        self.cells.len()
    }

    /// Counts one call, and returns its place, if it has one, and how often it was made.
    pub(crate) fn add(&self, call: &Call<'_>) -> Option<(usize, u64)> {
        let notification = call.notification();
        let Some((arch, place)) = self.find(notification.syscall) else {
            self.elsewhere.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let index = arch * PLACES + place;
        if let Some(watched) = watched(index) {
            let packed = Watched::by_index(watched).and_then(|watched| watched.pack(&notification.args));
            self.values[arch * WATCHED + watched].add(packed);
        }
        let counted = &self.cells[index];
        let now = now();
        let before = counted.count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            counted.first.store(now, Ordering::Relaxed);
            self.callers.note(index, call);
        }
        if counted.last.load(Ordering::Relaxed) != now {
            counted.last.store(now, Ordering::Relaxed);
        }
        Some((index, before.saturating_add(1)))
    }

    /// Says of a call that was counted before what kind of processes made it.
    pub(crate) fn were_by(&self, place: usize, origin: Origin) {
        let bit = ORIGINS.iter().position(|each| *each == origin).map_or(0, |index| 1 << index);
        if self.by[place].load(Ordering::Relaxed) & bit == 0 {
            self.by[place].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Says of calls that were counted before that they were a runtime's.
    pub(crate) fn were_starting(&self, place: usize, count: u32) {
        self.starting[place].fetch_add(count, Ordering::Relaxed);
    }

    /// What is known of all calls that were made.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (Syscall, Seen)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(index, cell)| {
            let count = cell.count.load(Ordering::Relaxed);
            let syscall = at(self.family[index / PLACES], index % PLACES);
            let is_native = index < PLACES;
            let starting = if is_native { self.starting[index].load(Ordering::Relaxed) } else { 0 };
            let last = cell.last.load(Ordering::Relaxed);
            // The thread that made the first call may not have come to the time yet.
            let first = Some(cell.first.load(Ordering::Relaxed)).filter(|first| *first != 0).unwrap_or(last);
            let first = first.min(last).into();
            (count > 0).then(|| {
                let seen = Seen {
                    count,
                    starting: u64::from(starting).min(count),
                    runs: 1,
                    first,
                    last: last.into(),
                    arguments: self.arguments(syscall),
                    by: self.by(index),
                    caller: self.callers.first(index, first),
                };
                (syscall, seen)
            })
        })
    }

    fn by(&self, index: usize) -> BTreeSet<Origin> {
        let bits = self.by[index].load(Ordering::Relaxed);
        let all = ORIGINS.into_iter().enumerate();
        all.filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, origin)| origin).collect()
    }

    /// What is known of the arguments of a call that is watched.
    fn arguments(&self, syscall: Syscall) -> Option<Arguments> {
        let (index, watched) = Watched::find(syscall)?;
        let (arch, _) = self.find(syscall)?;
        let values = self.values[arch * WATCHED + index].all();
        let unpacked = values.map(|all| all.map(|packed| watched.unpack(packed)).collect());
        Some(unpacked.map_or(Arguments::Any, Arguments::new))
    }

    /// How many calls were counted, all together.
    pub(crate) fn total(&self) -> u64 {
        self.cells
            .iter()
            .fold(self.elsewhere(), |sum, cell| sum.wrapping_add(cell.count.load(Ordering::Relaxed)))
    }

    /// How many different calls were counted.
    pub(crate) fn different(&self) -> usize {
        self.cells.iter().filter(|cell| cell.count.load(Ordering::Relaxed) > 0).count()
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
    use seccomp_agent_registry::{Container, Notification};
    use std::mem::size_of;

    fn add(counts: &Counts, notification: &Notification) -> Option<(usize, u64)> {
        counts.add(&Call::new(notification, &Container::named("c")))
    }

    #[test]
    fn a_container_takes_at_most_64_kib() {
        let archs = 3;
        let counted =
            archs * (PLACES * (size_of::<Cell>() + size_of::<AtomicU8>()) + WATCHED * size_of::<Values>());
        let bytes = size_of::<Counts>() + counted + PLACES * 4 + Callers::most_bytes(archs * PLACES);
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
            add(&counts, &notification);
        }
        add(&counts, &notification);
        let seen: Vec<_> = counts.seen().map(|(call, seen)| (call.arch, seen.count)).collect();
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
            add(&counts, &notification);
        }
        notification.syscall = Syscall::new(Arch::Unknown, 1);
        add(&counts, &notification);
        assert_eq!((counts.elsewhere(), counts.seen().count()), (6, 0));
    }

    #[test]
    fn first_and_last_are_now() {
        let counts = Counts::new();
        let before = now();
        add(&counts, &Notification::sample("getppid"));
        let (_, seen) = counts.seen().next().unwrap();
        assert!(
            before > 0
                && (before..=now()).contains(&u32::try_from(seen.first).unwrap())
                && seen.last >= seen.first
        );
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let counts = Counts::new();
        let notification = Notification::sample("getppid");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).filter_map(|_| add(&counts, &notification)).count());
            }
        });
        assert_eq!(counts.seen().map(|(_, seen)| seen.count).sum::<u64>(), 4000);
    }
}
