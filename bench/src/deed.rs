//! The call that a container makes again and again: one that costs nothing, or one that is emulated for it.

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::fs::{chmodat, makedev, mkdirat, mknodat, unlinkat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::getppid;
use rustix::thread::{gettid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use seccomp_agent_handlers::{Devices, Directories, Modes, Nodes};
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
}

impl Deed {
    /// The system call.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Mkdir => "mkdirat",
            Self::Mknod => "mknodat",
            Self::Chmod => "fchmodat",
        }
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
        }
        Ok(registry)
    }

    /// Brings this process to where it makes files: a tmpfs of its own over the directory for temporary files.
    pub fn prepare(self) -> anyhow::Result<()> {
        if self != Self::Getppid {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            let place = std::env::temp_dir();
            mount("bench", &place, "tmpfs", MountFlags::empty(), c"mode=777")?;
            rustix::process::chdir(&place)?;
        }
        Ok(())
    }

    /// Makes this thread, and those that it starts, an unprivileged user. A native mknod stays root.
    pub fn drop_privileges(self, native: bool) -> anyhow::Result<()> {
        if self == Self::Getppid || (self == Self::Mknod && native) {
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
        if self == Self::Chmod {
            let _refused = mkdirat(CWD, &name, Mode::RWXU);
        }
        Steps { deed: self, name }
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
        }
    }

    /// Makes room for the next one, by calls that are not notified.
    pub fn undo(&self) -> rustix::io::Result<()> {
        match self.deed {
            Deed::Mkdir => unlinkat(CWD, &self.name, AtFlags::REMOVEDIR),
            Deed::Mknod => unlinkat(CWD, &self.name, AtFlags::empty()),
            Deed::Getppid | Deed::Chmod => Ok(()),
        }
    }
}
