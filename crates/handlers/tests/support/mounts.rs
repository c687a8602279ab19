//! Mounting, and what there is to see of it.

use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use rustix::io::Errno;

/// What calls have said, each with its name.
pub(crate) type Said = Vec<(String, Result<(), Errno>)>;

/// `mount(2)`; an empty string stands for NULL.
pub(crate) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), Errno> {
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    from_nix(nix::mount::mount(some(source), target, some(kind), flags, some(options)))
}

/// `umount2(2)` of what should not be busy. What another test starts has all descriptors of this process until it is
/// executed, and keeps mounts busy with them: that is waited for.
pub(crate) fn umount(target: &str, flags: i32) -> Result<(), Errno> {
    let mut attempts = 100;
    loop {
        let outcome = umount_at_once(target, flags);
        attempts -= 1;
        if outcome != Err(Errno::BUSY) || attempts == 0 {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `umount2(2)`.
pub(crate) fn umount_at_once(target: &str, flags: i32) -> Result<(), Errno> {
    from_nix(nix::mount::umount2(target, MntFlags::from_bits_retain(flags)))
}

fn from_nix(outcome: nix::Result<()>) -> Result<(), Errno> {
    super::differential::from_nix(outcome)
}

/// The lines of a `mountinfo` about mounts in a folder, without the numbers that are never the same. The options of an overlay are left out: its layers are named by other paths.
pub(crate) fn table(table: &str, folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let show = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let at = fields[4].strip_prefix(folder)?;
        let dash = fields.iter().position(|field| *field == "-")?;
        let kinds = fields[6..dash].iter().map(|field| field.split(':').next().unwrap());
        let tags: Vec<_> = kinds.collect();
        let options = if fields[dash + 1] == "overlay" { "" } else { fields[dash + 3] };
        let root = fields[3].strip_prefix(folder).unwrap_or(fields[3]);
        let (kind, source) = (fields[dash + 1], fields[dash + 2]);
        Some(format!("{at} {root} {} {tags:?} {kind} {source} {options}", fields[5]))
    };
    table.lines().filter_map(show).collect()
}

/// One that mounts, and unmounts.
pub(crate) fn registry(mount: &seccomp_agent_handlers::Mount) -> seccomp_agent_registry::Registry {
    let mut registry = seccomp_agent_registry::Registry::new();
    for name in ["mount", "umount", "umount2"] {
        // Not every architecture has the second.
        let _ = registry.on(name, mount.clone());
    }
    registry
}
