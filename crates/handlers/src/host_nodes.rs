use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, mknodat, openat, unlinkat,
};
use seccomp_agent_nsenter::{
    Base, Caller, Capabilities, EntryPath, MountNamespace, Place, Scene, clone_host_node, find_host_file,
};
use seccomp_agent_registry::{Call, Errno};

use crate::emulate::Failure;

/// Device nodes of the host, to be bound where a new node could not be made or not be opened.
#[derive(Debug, Default)]
pub(crate) struct HostNodes {
    paths: Vec<CString>,
    bound: AtomicU32,
}

/// How many nodes are bound for one container. Each is a mount, which stays in the kernel's memory for as long as
/// the container does.
const MAX_BOUND: u32 = 64;

/// A node that is asked for.
pub(crate) struct Wanted {
    pub(crate) base: Base,
    pub(crate) entry: EntryPath,
    pub(crate) kind: FileType,
    pub(crate) permissions: Mode,
    pub(crate) device: Dev,
}

impl Wanted {
    /// While acting: makes the node.
    pub(crate) fn make(&self, scene: &Scene<'_>) -> Result<(), Errno> {
        self.make_at(&self.place(scene)?)
    }

    /// While acting: finds where.
    pub(crate) fn place(&self, scene: &Scene<'_>) -> Result<Place<'_>, Errno> {
        scene.place(&self.base, &self.entry)
    }

    /// While acting: makes the node there.
    pub(crate) fn make_at(&self, place: &Place<'_>) -> Result<(), Errno> {
        mknodat(place.directory(), place.name(), self.kind, self.permissions, self.device)
    }
}

/// An empty file, made for a node to be bound onto.
struct MountPoint<'w> {
    place: Place<'w>,
    file: OwnedFd,
}

impl HostNodes {
    pub(crate) const fn at(paths: Vec<CString>) -> Self {
        Self { paths, bound: AtomicU32::new(0) }
    }

    /// The host's node of a device, if it is where it is said to be.
    pub(crate) fn find(&self, kind: FileType, device: Dev) -> Option<OwnedFd> {
        self.paths.iter().find_map(|path| {
            let found = find_host_file(path).ok()?;
            let stat = fstat(&found).ok()?;
            let is_it = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == device;
            is_it.then_some(found)
        })
    }

    /// Makes a node of a listed device or, where that is not possible or of no use, binds the host's `node`.
    pub(crate) fn make(
        &self,
        call: &Call<'_>,
        caller: &Caller,
        wanted: &Wanted,
        node: &OwnedFd,
    ) -> Result<(), Failure> {
        let mounts = caller.mount_namespace()?;
        let is_elsewhere = !caller.is_in_our_user_namespace();
        let made = caller.act(
            || call.is_valid(),
            Capabilities::MKNOD,
            |scene| {
                let place = wanted.place(scene)?;
                let flags = fstatvfs(place.directory())?.f_flag;
                if !is_elsewhere && !flags.contains(StatVfsMountFlags::NODEV) {
                    match wanted.make_at(&place) {
                        Err(Errno::PERM) => {}
                        done => return done.map(|()| None),
                    }
                }
                MountPoint::make(place, wanted.permissions).map(Some)
            },
        )?;
        let Some(point) = made else { return Ok(()) };
        let bound = self.bind(call, &mounts, &point, node);
        if bound.is_err() {
            point.remove(caller);
        }
        bound
    }

    fn bind(
        &self,
        call: &Call<'_>,
        mounts: &MountNamespace,
        point: &MountPoint<'_>,
        node: &OwnedFd,
    ) -> Result<(), Failure> {
        let one_more = |bound| (bound < MAX_BOUND).then_some(bound + 1);
        let counted = self.bound.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        // As from a mount namespace that is full.
        counted.map_err(|_| Errno::NOSPC)?;
        call.note(|noted| {
            noted.because("listed; the host's node is bound");
        });
        let attached =
            clone_host_node(node).and_then(|mount| mounts.attach(mount, &point.file, || call.is_valid()));
        if attached.is_err() {
            self.bound.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(attached?)
    }
}

impl<'w> MountPoint<'w> {
    /// While acting: makes the file and holds it. What somebody has put in its place meanwhile is no file that
    /// was just made, and covered by nothing.
    fn make(place: Place<'w>, permissions: Mode) -> Result<Self, Errno> {
        mknodat(place.directory(), place.name(), FileType::RegularFile, permissions, 0)?;
        let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(place.directory(), place.name(), path, Mode::empty())?;
        let stat = fstat(&file)?;
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_regular && stat.st_size == 0 && stat.st_nlink == 1 {
            Ok(Self { place, file })
        } else {
            Err(Errno::EXIST)
        }
    }

    /// Removes the file, as the caller, whose place it was: of what has been put there meanwhile it could remove
    /// as much itself. It need not wait for its call any more.
    fn remove(&self, caller: &Caller) {
        // There is nothing to do about a file that stays.
        let _ = caller.act(
            || true,
            Capabilities::empty(),
            |_| unlinkat(self.place.directory(), self.place.name(), AtFlags::empty()),
        );
    }
}
