use std::time::Duration;

use anyhow::Context;

/// What a process uses of the machine (`proc_pid_stat(5)`).
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Processor time since its start, of all threads, in user and kernel mode.
    pub cpu: Duration,
}

impl Usage {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let count = |directory: &str| -> anyhow::Result<usize> {
            let path = format!("/proc/{pid}/{directory}");
            Ok(std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.count())
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        // The name, in parentheses, may hold anything; field 3 of the manual comes after it.
        let fields: Vec<_> = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
        let ticks = |field: usize| -> anyhow::Result<u64> {
            Ok(fields.get(field - 3).context("stat is too short")?.parse()?)
        };
        let per_second = rustix::param::clock_ticks_per_second();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .context("status has no VmRSS")?;
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            resident_kib: resident.trim().parse()?,
            cpu: Duration::from_millis((ticks(14)? + ticks(15)?) * 1000 / per_second),
        })
    }
}

/// The processes whose parent is the process `pid`.
pub fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let all = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = |process: u32| -> Option<u32> {
        // One that has ended meanwhile is nobody's.
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    Ok(all.filter(|process| parent(*process) == Some(pid)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_this_process_is_plausible() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.descriptors >= 3 && usage.threads >= 1 && usage.resident_kib > 100, "{usage:?}");
    }
}
