//! The files of the control plane (`landlock(7)`).

use std::fmt;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};

use crate::SandboxError;

/// What a thread needs of the file system: files, or directories with all below them. What is not there when a thread
/// is confined is none of it.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Is read.
    pub read: Vec<PathBuf>,
    /// Is read and written; files and directories are made and removed there.
    pub write: Vec<PathBuf>,
    /// Something may be removed from there.
    pub remove: Vec<PathBuf>,
}

/// What Landlock does about files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Landlock {
    /// All that was asked for.
    Full,
    /// What this kernel knows: before Linux 6.7 a thread may listen on TCP, before 6.2 truncate files.
    Partial,
    /// Nothing: the kernel has no Landlock, or it is turned off.
    Missing,
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "on",
            Self::Partial => "partly on: this kernel knows less of it",
            Self::Missing => "missing in this kernel",
        })
    }
}

/// The version of Landlock that is asked for, of Linux 6.10: devices get no requests (`ioctl(2)`) either.
const VERSION: ABI = ABI::V5;

/// Leaves the calling thread, and what it starts, these files and no TCP port to listen on.
pub(crate) fn restrict(files: &Files) -> Result<Landlock, SandboxError> {
    enforce(files).map_err(|error| SandboxError::Landlock(error.into()))
}

fn enforce(files: &Files) -> Result<Landlock, RulesetError> {
    let read = BitFlags::from(AccessFs::ReadFile) | AccessFs::ReadDir;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::BindTcp)?
        .create()?
        .add_rules(path_beneath_rules(&files.read, read))?
        .add_rules(path_beneath_rules(&files.write, AccessFs::from_all(VERSION) & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(&files.remove, AccessFs::RemoveFile))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}
