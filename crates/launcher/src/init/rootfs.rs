use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::devices::{self, HostDevices};
use super::failure::{Failure, step};
use super::mount::{DATA, directory, new, remount_read_only};

/// The field of a line of `mountinfo`, counted from 0 (`proc_pid_mountinfo(5)`).
const MOUNT_POINT: usize = 4;

/// Makes the directory `rootfs` the root, with a `/proc`, `/sys` and `/dev` of its own, and lets go of the
/// host's. What is mounted is mounted by paths within the new root, so that no link in it leads out.
pub(super) fn enter(rootfs: &Path) -> Result<(), Failure> {
    let devices = HostDevices::hold();
    let sysfs = open_tree(
        rustix::fs::CWD,
        "/sys",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE,
    );
    let host = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("opening the host's root"))?;

    // pivot_root(2) wants a mount.
    mount_bind_recursive(rootfs, rootfs).map_err(step(format_args!("binding {}", rootfs.display())))?;
    chdir(rootfs).map_err(step(format_args!("chdir to {}", rootfs.display())))?;
    pivot_root(".", ".").map_err(step(format_args!("pivot_root to {}", rootfs.display())))?;
    chdir("/").map_err(step("chdir to the new root"))?;

    // A user namespace may mount procfs only while another one is in sight: the host's, still mounted below.
    directory("/proc")?;
    new("proc", "/proc", DATA, None)?;
    directory("/sys")?;
    match mount("sysfs", "/sys", "sysfs", DATA | MountFlags::RDONLY, None) {
        // Not in a user namespace that the network is not of.
        Err(Errno::PERM) => bind_sysfs(sysfs)?,
        other => other.map_err(step("mounting sysfs on /sys"))?,
    }
    devices::populate(devices)?;

    fchdir(&host).map_err(step("fchdir to the host's root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("unmounting the host's root"))?;
    chdir("/").map_err(step("chdir to the new root"))
}

fn bind_sysfs(sysfs: Result<std::os::fd::OwnedFd, Errno>) -> Result<(), Failure> {
    let failed = || step("binding the host's /sys");
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(sysfs.map_err(failed())?, "", rustix::fs::CWD, "/sys", flags).map_err(failed())?;
    // What is mounted below came along.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Failure::new("reading /proc/self/mountinfo", &error))?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(MOUNT_POINT));
    let below = points.filter(|point| *point == "/sys" || point.starts_with("/sys/"));
    below.collect::<Vec<_>>().into_iter().try_for_each(remount_read_only)
}
