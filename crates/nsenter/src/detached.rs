use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::raw;

/// Sets and clears attributes of a mount that is attached nowhere yet, by a descriptor of its root
/// (`mount_setattr(2)`). EINVAL if another mount namespace
/// has it by now. ENOSYS before Linux 5.12.
pub fn change_detached_mount(
    mount: impl AsFd,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    raw::set_attributes(mount.as_fd(), set, clear)
}
