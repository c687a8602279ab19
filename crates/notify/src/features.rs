use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use crate::filter::{self, Flags};
use crate::listener::Listener;
use crate::task::Task;

/// What the running kernel has of the parts that came after Linux 5.10.
///
/// Probed once by trying, never by version number: distributions backport. A plain value, so that a test can
/// switch each off and prove that the agent works without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is an independent fact about the kernel.
pub struct Features {
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19: a received call is not interrupted by signals.
    pub wait_killable_recv: bool,
    /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6.
    pub sync_wake_up: bool,
    /// `PIDFD_THREAD`, Linux 6.9.
    pub thread_pidfd: bool,
    /// procfs takes its pid namespace as a mount option, Linux 6.17.
    pub proc_pidns: bool,
    /// overlay takes its layers as descriptors, Linux 6.15.
    pub overlay_descriptors: bool,
}

impl Features {
    /// Asks the kernel. Nothing of the process changes: filters are tried on threads that end at once.
    pub fn probe() -> Self {
        Self {
            wait_killable_recv: filter::knows(Flags::WAIT_KILLABLE_RECV),
            sync_wake_up: has_sync_wake_up(),
            thread_pidfd: has_thread_pidfd(),
            proc_pidns: has_proc_pidns(),
            overlay_descriptors: has_overlay_descriptors(),
        }
    }
}

fn has_sync_wake_up() -> bool {
    std::thread::spawn(|| {
        let fd = filter::install(&filter::notifying(&[]), Flags::empty()).ok()?;
        Listener::new(fd).ok()?.set_sync_wake_up().ok()
    })
    .join()
    .is_ok_and(|known| known.is_some())
}

fn has_thread_pidfd() -> bool {
    std::thread::spawn(|| {
        Task::open(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), true).is_ok()
    })
    .join()
    .unwrap_or(false)
}

fn has_proc_pidns() -> bool {
    let own = rustix::fs::open(
        "/proc/thread-self/ns/pid",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let (Ok(context), Ok(own)) = (rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC), own) else {
        return false;
    };
    // In a user namespace, our own pid namespace may be out of reach; a container's is not. A kernel without the
    // option says EINVAL.
    let outcome = rustix::mount::fsconfig_set_fd(context.as_fd(), "pidns", own.as_fd());
    matches!(outcome, Ok(()) | Err(Errno::PERM))
}

fn has_overlay_descriptors() -> bool {
    let path = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let folder = rustix::fs::open("/", path, rustix::fs::Mode::empty());
    let (Ok(context), Ok(folder)) = (rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC), folder)
    else {
        return false;
    };
    rustix::mount::fsconfig_set_fd(context.as_fd(), "lowerdir+", folder.as_fd()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_leaves_the_thread_without_a_filter() {
        Features::probe();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.lines().any(|line| line.split_whitespace().eq(["Seccomp_filters:", "0"])), "{status}");
    }

    #[test]
    fn later_features_imply_earlier_ones() {
        let features = Features::probe();
        assert!(!features.thread_pidfd || features.sync_wake_up);
        assert!(!features.sync_wake_up || features.wait_killable_recv);
    }
}
