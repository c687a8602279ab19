//! The cgroups of a container, found as the host sees them (`cgroups(7)`).

mod freezer;
mod memory;
mod mounts;
mod places;
mod sight;

use std::path::{Path, PathBuf};

pub(crate) use freezer::Freezer;
pub(crate) use memory::Usage;
pub(crate) use places::is_init;
pub use sight::cgroups_in_sight;

/// A tree of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hierarchy {
    /// The one of version 2.
    Unified,
    /// That of version 1 which has this controller.
    Of(&'static str),
}

/// Why a container's cgroup is not found, or of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// An entry of procfs or of a cgroup cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The entry.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is in no cgroup but the roots, or nothing that has what is wanted is mounted.
    #[error("it is in no cgroup that can be {0}")]
    None(&'static str),
    /// The cgroup is not below what is mounted here, or outside the agent's cgroup namespace.
    #[error("its cgroup {path:?} cannot be seen from here; the agent needs the host's /sys/fs/cgroup")]
    OutOfSight {
        /// The cgroup, as the agent's cgroup namespace names it.
        path: String,
    },
    /// Freezing it would freeze the agent.
    #[error("its cgroup {path:?} is the agent's as well")]
    Ours {
        /// The cgroup.
        path: String,
    },
    /// The freezer's file cannot be opened or written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

fn read(path: &Path) -> Result<Vec<u8>, CgroupError> {
    std::fs::read(path).map_err(|source| CgroupError::Read { path: path.to_owned(), source })
}
