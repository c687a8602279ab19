use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind};

use super::failure::{Failure, step};
use super::mount::read_only;

/// What containers have no business with: the default of the runtimes (`DefaultLinuxSpec` of containerd and
/// Docker).
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/fs/nfsd",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What they may read.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Hides and protects what containers neither need nor may change.
pub(super) fn mask() -> Result<(), Failure> {
    READ_ONLY.iter().try_for_each(|path| read_only(path))?;
    MASKED.iter().try_for_each(|path| hide(path))
}

/// Puts something empty over it: `/dev/null`, or an empty directory. Nothing there: nothing to do.
fn hide(path: &str) -> Result<(), Failure> {
    let failed = step(format!("masking {path}"));
    match mount_bind("/dev/null", path) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, c"size=0k").map_err(failed),
        other => other.map_err(failed),
    }
}
