//! One-shot timers as descriptors (`timerfd_create(2)`), on the monotonic clock.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use rustix::time::{timerfd_create, timerfd_settime};

/// The longest wait that is armed at once; whoever waits longer is armed again then.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn create() -> Result<OwnedFd, Errno> {
    timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
}

/// Lets the timer become readable after `wait`.
pub(super) fn arm(timer: &OwnedFd, wait: Duration) {
    // Zero would disarm it.
    let wait = wait.clamp(Duration::from_nanos(1), LONGEST);
    let it_value =
        Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) as _ };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let armed =
        timerfd_settime(timer.as_fd(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value });
    // A timer that we own and a time in range leave the kernel nothing to refuse.
    debug_assert!(armed.is_ok(), "arming a timer: {armed:?}");
}

/// Takes note that it has expired, so that it is readable no more.
pub(super) fn clear(timer: &OwnedFd) {
    // EAGAIN: somebody has armed it again since, and it will be readable once more.
    let _expirations = rustix::io::read(timer, &mut [0; 8]);
}
