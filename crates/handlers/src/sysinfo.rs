use std::path::Path;

use seccomp_agent_registry::{Arch, Call, Handler, Verdict};

use crate::cgroup::Usage;
use crate::emulate::{Failure, emulate};

/// `sysinfo(2)`, with the memory, the swap and the number of threads that the container's cgroups give it, of either
/// version: what it asks for to find out how much it may use. What they do not limit is the machine's.
///
/// **Grants** nothing. Of time and load it says what the kernel says.
///
/// **Cannot know** what a program makes of it: `free` and the like read `/proc/meminfo` instead. As buffers it counts
/// the cached content of files, which the kernel counts nowhere here. A caller that is in no cgroup but the roots
/// continues.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Sysinfo;

/// `struct sysinfo`, sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Info {
    uptime: i64,
    /// Fixed-point numbers, as the kernel has them.
    loads: [u64; 3],
    total: u64,
    free: u64,
    shared: u64,
    buffers: u64,
    swap_total: u64,
    swap_free: u64,
    procs: u16,
}

impl Sysinfo {
    /// One that asks the container's cgroups.
    pub const fn of_cgroup() -> Self {
        Self
    }
}

impl Handler for Sysinfo {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        emulate(call, answer)
    }

    fn name(&self) -> &'static str {
        "sysinfo"
    }
}

fn answer(call: &Call<'_>) -> Result<Verdict, Failure> {
    let Ok(usage) = Usage::of_container(Path::new("/proc"), call.tid(), call.container().init_pid) else {
        return Ok(Verdict::Continue);
    };
    let info = Info::of_machine().within(&usage);
    let memory = call.memory().writer()?;
    if !call.is_valid() {
        return Ok(Verdict::Return(0));
    }
    memory.write(call.arg(0), &info.bytes(call.syscall().arch))?;
    call.note(|noted| {
        noted.because("of the container's cgroup");
    });
    Ok(Verdict::Return(0))
}

impl Info {
    fn of_machine() -> Self {
        let machine = rustix::system::sysinfo();
        let unit = u64::from(machine.mem_unit.max(1));
        let bytes = |units: u64| units.saturating_mul(unit);
        Self {
            uptime: machine.uptime,
            loads: machine.loads,
            total: bytes(machine.totalram),
            free: bytes(machine.freeram),
            shared: bytes(machine.sharedram),
            buffers: bytes(machine.bufferram),
            swap_total: bytes(machine.totalswap),
            swap_free: bytes(machine.freeswap),
            procs: machine.procs,
        }
    }

    /// As much of it as a container has.
    fn within(self, usage: &Usage) -> Self {
        let (total, swap_total) = (self.total.min(usage.limit), self.swap_total.min(usage.swap_limit));
        let tasks = usage.tasks.map(|tasks| u16::try_from(tasks).unwrap_or(u16::MAX));
        Self {
            total,
            free: self.free.min(total.saturating_sub(usage.used)),
            shared: usage.shared.min(total),
            buffers: usage.cached.min(total),
            swap_total,
            swap_free: self.swap_free.min(swap_total.saturating_sub(usage.swap_used)),
            procs: tasks.unwrap_or(self.procs),
            ..self
        }
    }

    /// As it lies in the memory of a program of `arch`. Where its numbers are too small for bytes, they are of the
    /// smallest unit, a power of two, that fits.
    fn bytes(&self, arch: Arch) -> Vec<u8> {
        let sizes = [self.total, self.free, self.shared, self.buffers, self.swap_total, self.swap_free];
        let widest = sizes.into_iter().max().unwrap_or(0);
        let too_many_bits = (u64::BITS - widest.leading_zeros()).saturating_sub(u32::BITS);
        let shift = if arch.is_32_bit() { too_many_bits } else { 0 };
        let word = |value: u64| {
            let narrow = arch.is_32_bit().then(|| u32::try_from(value).unwrap_or(u32::MAX));
            narrow.map_or_else(|| value.to_ne_bytes().to_vec(), |value| value.to_ne_bytes().to_vec())
        };
        // No machine has been up for less than no time.
        let times = [self.uptime.unsigned_abs()].into_iter().chain(self.loads);
        let mut bytes: Vec<u8> = times.chain(sizes.map(|size| size >> shift)).flat_map(word).collect();
        bytes.extend(self.procs.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(word(0).len()), 0);
        // No machine that this is for has high memory.
        bytes.extend([0, 0].into_iter().flat_map(word));
        bytes.extend((1_u32 << shift).to_ne_bytes());
        bytes.resize(if arch.is_32_bit() { SIZE_32 } else { SIZE }, 0);
        bytes
    }
}

/// How long the structure is, its padding included.
const SIZE: usize = 112;
const SIZE_32: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: Info = Info {
        uptime: 5,
        loads: [1, 2, 3],
        total: 8 << 30,
        free: 1 << 30,
        shared: 3 << 20,
        buffers: 0,
        swap_total: 0,
        swap_free: 0,
        procs: 700,
    };

    const USAGE: Usage = Usage {
        limit: 100 << 20,
        used: 30 << 20,
        cached: 7 << 20,
        shared: 2 << 20,
        swap_limit: u64::MAX,
        swap_used: 9,
        tasks: Some(3),
    };

    #[test]
    fn a_limit_is_all_there_is() {
        let within = INFO.within(&USAGE);
        assert_eq!((within.total, within.free), (100 << 20, 70 << 20));
        assert_eq!((within.shared, within.buffers, within.procs), (2 << 20, 7 << 20, 3));
        assert_eq!((within.uptime, within.loads, within.swap_total, within.swap_free), (5, [1, 2, 3], 0, 0));
    }

    #[test]
    fn what_is_not_limited_is_the_machines() {
        let within = INFO.within(&Usage { limit: u64::MAX, tasks: None, ..USAGE });
        assert_eq!((within.total, within.free, within.procs), (INFO.total, INFO.free, 700));
    }

    #[test]
    fn what_is_used_beyond_the_limit_leaves_nothing() {
        assert_eq!(INFO.within(&Usage { used: 200 << 20, ..USAGE }).free, 0);
    }

    #[test]
    fn numbers_that_do_not_fit_are_of_a_larger_unit() {
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let narrow = INFO.bytes(Arch::X86);
        // 8 GiB take 34 bits.
        assert_eq!((narrow.len(), word(&narrow, 52)), (SIZE_32, 4));
        assert_eq!((word(&narrow, 0), word(&narrow, 4), word(&narrow, 16)), (5, 1, 1 << 31));
        assert_eq!(u16::from_ne_bytes([narrow[40], narrow[41]]), 700);
        let small = INFO.within(&USAGE).bytes(Arch::X86);
        assert_eq!((word(&small, 16), word(&small, 52)), (100 << 20, 1));
        let wide = INFO.bytes(Arch::X86_64);
        assert_eq!((wide.len(), word(&wide, 104), word(&wide, 32 + 4)), (SIZE, 1, 2));
        assert_eq!(u16::from_ne_bytes([wide[80], wide[81]]), 700);
    }
}
