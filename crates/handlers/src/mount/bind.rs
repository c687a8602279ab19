use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs};
use seccomp_agent_nsenter::{Capabilities, Extent, Mounted, lock_tree};
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::file_system::attributes_of;
use super::mounter::Mounter;
use super::ours::{Made, Origin, Ours};
use super::refuse;
use super::request::Request;
use super::table;
use crate::emulate::Failure;

/// Where there are more mounts in a namespace, trees are not bound: each time, their number can double.
const MAX_TREE: usize = 1024;

/// Shows what the caller can reach in another place as well. What is mounted below comes along, locked, or has to
/// be absent (EINVAL): nothing that is covered comes to light.
pub(super) fn bind(
    call: &Call<'_>,
    mounter: &Mounter,
    request: &Request,
    recursive: bool,
) -> Result<Verdict, Failure> {
    let source = request.source.as_deref().filter(|source| !source.is_empty()).ok_or(Errno::INVAL)?;
    let (ours, namespace) = (Ours::of(call, mounter)?, &mounter.namespace);
    let (target, source) = mounter.caller.act(
        || call.is_valid(),
        Capabilities::empty(),
        |scene| {
            let target = scene.mount_point(&request.target, OFlags::empty())?;
            Ok((target, scene.mount_point(source, OFlags::empty())?))
        },
    )?;
    let (mount, made) = copy(call, mounter, &ours, &source, recursive)?;
    if is_folder(&source)? != is_folder(&target)? {
        return Err(Errno::NOTDIR.into());
    }
    ours.attach(call, namespace, &mount, &target, Vec::new(), made)?;
    Ok(Verdict::Return(0))
}

/// A copy of what is mounted at `source`, which is attached nowhere.
pub(super) fn copy(
    call: &Call<'_>,
    mounter: &Mounter,
    ours: &Ours,
    source: &OwnedFd,
    recursive: bool,
) -> Result<(OwnedFd, Made), Failure> {
    let namespace = &mounter.namespace;
    let _alone = ours.binding();
    if recursive && table::parse(&namespace.table()?).len() > MAX_TREE {
        call.note(|noted| {
            noted.because("too many mounts to bind a tree of them");
        });
        return Err(Errno::NOSPC.into());
    }
    if fstatfs(source)?.f_type == PROC_SUPER_MAGIC && !Mounted::of(source)?.is_root {
        return refuse(call, "the source is a part of procfs");
    }
    let copy = namespace.copy_tree(source)?;
    let extent = if recursive { Extent::Tree } else { Extent::Mount };
    let mount = if is_folder(source)? { lock_tree(copy, &[], extent)? } else { copy };
    let made = Made::of(Origin::Bind, attributes_of(&mount)?);
    Ok((mount, made))
}

pub(super) fn is_folder(file: &OwnedFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory)
}
