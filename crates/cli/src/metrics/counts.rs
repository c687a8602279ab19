use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use seccomp_agent_notify::Arch;
use seccomp_agent_registry::Syscall;

/// The answers of one container: how many of each system call and verdict, and how long they took.
#[derive(Default)]
pub(crate) struct Counts {
    /// By verdict, then by the index of the system call's name.
    by_verdict: [OnceLock<Box<[AtomicU64]>>; VERDICTS.len()],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// How long answers took: the number of answers in each bucket, the last one unbounded, and the sum in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latency {
    /// One count for each of [`BOUNDS`], and one for what took longer.
    pub(crate) buckets: [u64; BOUNDS.len() + 1],
    /// Of all of them together.
    pub(crate) seconds: f64,
}

/// How calls are answered in the end; another word counts as the last.
pub(crate) const VERDICTS: [&str; 4] = ["continue", "return", "errno", "kill"];

/// Upper bounds of the histogram's buckets, in seconds: from a plain continue to a call held for a minute.
pub(crate) const BOUNDS: [f64; 16] =
    [2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 2.0, 10.0, 60.0];

/// The label of calls that have no name.
const UNKNOWN: &str = "unknown";

/// The names of the machine's system calls, and where each call's name stands among them.
struct Names {
    sorted: Vec<&'static str>,
    /// By architecture of the family, then by number without the x32 bit.
    index: Vec<(Arch, Vec<u16>)>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let calls = || Arch::native().family().iter().flat_map(|arch| Syscall::all(*arch));
    let mut sorted: Vec<_> = calls().filter_map(Syscall::name).chain([UNKNOWN]).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let place = |name| sorted.binary_search(&name).ok().and_then(|at| u16::try_from(at).ok());
    let unknown = place(UNKNOWN).unwrap_or(0);
    let mut index: Vec<_> = Arch::native().family().iter().map(|arch| (*arch, Vec::new())).collect();
    for call in calls() {
        let Some((_, numbers)) = index.iter_mut().find(|(arch, _)| *arch == call.arch) else { continue };
        let at = plain_number(call);
        if numbers.len() <= at {
            numbers.resize(at + 1, unknown);
        }
        numbers[at] = call.name().and_then(place).unwrap_or(unknown);
    }
    Names { sorted, index }
});

impl Counts {
    /// Counts one answer.
    pub(crate) fn add(&self, syscall: Syscall, verdict: &str, after: Duration) {
        let verdict = VERDICTS.iter().position(|name| *name == verdict).unwrap_or(VERDICTS.len() - 1);
        let names = &*NAMES;
        let counters = self.by_verdict[verdict]
            .get_or_init(|| std::iter::repeat_with(AtomicU64::default).take(names.sorted.len()).collect());
        counters[names.place(syscall)].fetch_add(1, Ordering::Relaxed);
        let seconds = after.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Every pair of system call and verdict that there were answers of.
    pub(crate) fn series(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut series = BTreeMap::new();
        for (verdict, counters) in VERDICTS.iter().zip(&self.by_verdict) {
            for (name, counter) in NAMES.sorted.iter().zip(counters.get().into_iter().flatten()) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    series.insert((*name, *verdict), count);
                }
            }
        }
        series
    }

    /// How long the answers took.
    #[allow(clippy::cast_precision_loss)] // Of a sum of 104 days and more.
    pub(crate) fn latency(&self) -> Latency {
        Latency {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            seconds: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }

    /// Adds the latencies of another.
    pub(crate) fn absorb_latency(&self, other: &Counts) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(other.nanoseconds.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Names {
    fn place(&self, syscall: Syscall) -> usize {
        let numbers = self.index.iter().find(|(arch, _)| *arch == syscall.arch).map(|(_, numbers)| numbers);
        let known = numbers.and_then(|numbers| numbers.get(plain_number(syscall)).copied());
        known.map_or_else(|| self.sorted.binary_search(&UNKNOWN).unwrap_or(0), usize::from)
    }
}

/// The number without the bit that marks x32; every x32 number is small without it.
fn plain_number(syscall: Syscall) -> usize {
    usize::try_from(syscall.number & 0x3fff_ffff).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_name_whatever_the_architecture() {
        let counts = Counts::default();
        for arch in Arch::native().family() {
            counts.add(Syscall::named(*arch, "openat").unwrap(), "continue", Duration::from_micros(4));
        }
        counts.add(Syscall::new(Arch::native(), 99_999), "errno", Duration::from_secs(100));
        counts.add(Syscall::new(Arch::Unknown, 1), "errno", Duration::ZERO);
        let family = Arch::native().family().len() as u64;
        assert_eq!(
            counts.series().into_iter().collect::<Vec<_>>(),
            [(("openat", "continue"), family), (("unknown", "errno"), 2)]
        );
    }

    #[test]
    fn latencies_are_in_seconds_and_outlive_their_container() {
        let (ended, container) = (Counts::default(), Counts::default());
        container.add(Syscall::new(Arch::native(), 0), "continue", Duration::from_millis(1500));
        ended.absorb_latency(&container);
        ended.absorb_latency(&container);
        let latency = ended.latency();
        assert!((latency.seconds - 3.0).abs() < 1e-9, "{latency:?}");
        assert_eq!(latency.buckets[BOUNDS.iter().position(|bound| *bound >= 1.5).unwrap()], 2);
    }
}
