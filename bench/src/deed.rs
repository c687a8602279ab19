//! The call that a container makes again and again: one that costs nothing, or one that is emulated for it.

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::fs::{chmodat, makedev, mkdirat, mknodat, unlinkat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{getppid, pivot_root};
use rustix::thread::{gettid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use seccomp_agent_handlers::{Devices, Directories, Modes, Mount, Nodes};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;

/// Who the container is when its calls are emulated: anybody but root.
pub const USER: u32 = 1000;

/// `/dev/null`.
const NULL: (u32, u32) = (1, 3);

/// The same, as a number.
pub fn null() -> u64 {
    makedev(NULL.0, NULL.1)
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Deed {
    Getppid,
    Mkdir,
    Mknod,
    Chmod,
    /// Of a procfs.
    Mount,
    /// Of a procfs, where entries of the container's are covered, as runtimes do it.
    MountCovered,
    /// Of a procfs.
    Umount,
}

/// What runtimes cover of a procfs by default, of what every kernel has.
const COVERED: [&str; 6] =
    ["proc/interrupts", "proc/timer_list", "proc/bus", "proc/fs", "proc/irq", "proc/sys"];

impl Deed {
    /// The system call.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Mkdir => "mkdirat",
            Self::Mknod => "mknodat",
            Self::Chmod => "fchmodat",
            Self::Mount | Self::MountCovered => "mount",
            Self::Umount => "umount2",
        }
    }

    /// The calls that are made for the container: this one, and where nobody else can, the one that undoes it.
    pub const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Getppid => &["getppid"],
            Self::Mkdir => &["mkdirat"],
            Self::Mknod => &["mknodat"],
            Self::Chmod => &["fchmodat"],
            Self::Mount | Self::MountCovered | Self::Umount => &["mount", "umount2"],
        }
    }

    const fn mounts(self) -> bool {
        matches!(self, Self::Mount | Self::MountCovered | Self::Umount)
    }

    /// What does it for a container.
    pub fn emulation(self) -> anyhow::Result<Registry> {
        let mut registry = Registry::new();
        match self {
            Self::Getppid => {}
            Self::Mkdir => {
                registry.on(self.name(), Directories::new())?;
            }
            Self::Mknod => {
                let one = |number| [number..=number].into_iter().collect();
                let null = Devices { is_block: false, major: one(NULL.0), minor: one(NULL.1) };
                registry.on(self.name(), Nodes::granting(vec![null]))?;
            }
            Self::Chmod => {
                registry.on(self.name(), Modes::granting(Capabilities::empty()))?;
            }
            Self::Mount | Self::MountCovered | Self::Umount => {
                for name in self.calls() {
                    registry.on(name, Mount::procfs())?;
                }
            }
        }
        Ok(registry)
    }

    /// Brings this process to where it makes files: a tmpfs of its own over the directory for temporary files. One
    /// that mounts has it for its root, with a procfs.
    pub fn prepare(self) -> anyhow::Result<()> {
        if self != Self::Getppid {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            let place = std::env::temp_dir();
            mount("bench", &place, "tmpfs", MountFlags::empty(), c"mode=777")?;
            rustix::process::chdir(&place)?;
        }
        if self.mounts() {
            mkdirat(CWD, "proc", Mode::RWXU)?;
            mount("proc", "proc", "proc", MountFlags::empty(), None)?;
            for entry in COVERED.into_iter().filter(|_| self == Self::MountCovered) {
                mount_bind(entry, entry)?;
            }
            pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
        }
        Ok(())
    }

    /// Makes this thread, and those that it starts, an unprivileged user. A native mknod or mount stays root.
    pub fn drop_privileges(self, native: bool) -> anyhow::Result<()> {
        if self == Self::Getppid || ((self == Self::Mknod || self.mounts()) && native) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }

    /// What this thread repeats.
    pub fn steps(self) -> Steps {
        let name = gettid().as_raw_nonzero().to_string();
        let steps = Steps { deed: self, name };
        if self == Self::Chmod || self.mounts() {
            let _refused = mkdirat(CWD, &steps.name, Mode::RWXU);
        }
        if self == Self::Umount {
            let _refused = steps.mount();
        }
        steps
    }
}

/// A thread's calls.
pub struct Steps {
    deed: Deed,
    name: String,
}

impl Steps {
    /// The call.
    pub fn call(&self) -> rustix::io::Result<()> {
        match self.deed {
            Deed::Getppid => {
                let _parent = getppid();
                Ok(())
            }
            Deed::Mkdir => mkdirat(CWD, &self.name, Mode::RWXU),
            Deed::Mknod => mknodat(CWD, &self.name, FileType::CharacterDevice, Mode::RWXU, null()),
            Deed::Chmod => chmodat(CWD, &self.name, Mode::RWXU, AtFlags::empty()),
            Deed::Mount | Deed::MountCovered => self.mount(),
            Deed::Umount => self.umount(),
        }
    }

    /// Makes room for the next one, by calls that are not notified or else not measured.
    pub fn undo(&self) -> rustix::io::Result<()> {
        match self.deed {
            Deed::Mkdir => unlinkat(CWD, &self.name, AtFlags::REMOVEDIR),
            Deed::Mknod => unlinkat(CWD, &self.name, AtFlags::empty()),
            Deed::Getppid | Deed::Chmod => Ok(()),
            Deed::Mount | Deed::MountCovered => self.umount(),
            Deed::Umount => self.mount(),
        }
    }

    fn mount(&self) -> rustix::io::Result<()> {
        mount("proc", &self.name, "proc", MountFlags::empty(), None)
    }

    fn umount(&self) -> rustix::io::Result<()> {
        unmount(&self.name, UnmountFlags::DETACH)
    }
}
