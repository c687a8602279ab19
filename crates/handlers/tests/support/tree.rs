//! A container's root to try paths in, the kinds of caller that try them, and what is to be found afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) groups: &'static [u32],
    pub(crate) capabilities: CapabilitySet,
    pub(crate) umask: u32,
    pub(crate) chroot: bool,
}

/// The supplementary group that some directories are open to.
pub(crate) const FRIENDS: u32 = 2000;

/// Callers with few and with all rights. User ids are group ids as well.
pub(crate) fn kinds() -> Vec<Kind> {
    let none = CapabilitySet::empty();
    let user =
        Kind { name: "user", uid: 1000, groups: &[FRIENDS], capabilities: none, umask: 0o027, chroot: false };
    let root = Kind { name: "root", uid: 0, groups: &[], capabilities: all(), umask: 0o022, chroot: false };
    vec![
        root.clone(),
        user.clone(),
        Kind { name: "user without groups", groups: &[], umask: 0, ..user.clone() },
        Kind { name: "user, chrooted", chroot: true, ..user.clone() },
        Kind {
            name: "user overriding permissions",
            capabilities: CapabilitySet::DAC_OVERRIDE,
            ..user.clone()
        },
        Kind { name: "user owning all files", capabilities: CapabilitySet::FOWNER, ..user },
        Kind { name: "root without capabilities", capabilities: none, ..root.clone() },
        Kind { name: "root bound by permissions", capabilities: all() - dac(), ..root.clone() },
        Kind { name: "root, chrooted", chroot: true, ..root },
    ]
}

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Kind {
    kinds().into_iter().find(|kind| kind.name == name).unwrap()
}

fn dac() -> CapabilitySet {
    CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH
}

fn all() -> CapabilitySet {
    rustix::thread::capabilities(None).unwrap().permitted
}

impl Kind {
    /// Makes the calling thread one of this kind, in the tree's directory `w`.
    pub(crate) fn become_it(&self, root: &Path) {
        self.enter(root);
        self.take_credentials();
    }

    /// Goes to the tree's directory `w`.
    pub(crate) fn enter(&self, root: &Path) {
        if self.chroot {
            rustix::process::chroot(root).unwrap();
            rustix::process::chdir("/w").unwrap();
        } else {
            rustix::process::chdir(root.join("w")).unwrap();
        }
        rustix::process::umask(Mode::from_raw_mode(self.umask));
    }

    /// Takes on user, groups and capabilities.
    pub(crate) fn take_credentials(&self) {
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups).unwrap();
        set_keep_capabilities(true).unwrap();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        let (effective, inheritable) = (self.capabilities, CapabilitySet::empty());
        set_capabilities(None, CapabilitySets { effective, permitted: effective, inheritable }).unwrap();
    }
}

/// Builds the tree. Its links lead to everywhere that matters.
pub(crate) fn build(root: &Path) {
    let make = |name: &str, mode: u32, uid: u32, gid: u32| {
        let path = root.join(name);
        if !path.exists() {
            fs::create_dir(&path).unwrap();
        }
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    make("", 0o777, 0, 0);
    for (name, mode, uid, gid) in [
        ("w", 0o777, 0, 0),
        ("w2", 0o777, 0, 0),
        ("w/real", 0o777, 0, 0),
        ("w/setgid", 0o2777, 0, 3000),
        ("w/sticky", 0o1777, 0, 0),
        ("w/friends", 0o770, 0, FRIENDS),
        ("w/private", 0o700, 0, 0),
        ("w/readonly", 0o755, 0, 0),
        ("w/noexec", 0o776, 4242, 4242),
        ("w/mine", 0o700, 1000, 1000),
        ("w/acl", 0o777, 0, 0),
    ] {
        make(name, mode, uid, gid);
    }
    set_default_acl(&root.join("w/acl"));
    for (link, to) in [
        ("w/middle", "real"),
        ("w/absolute", "/w2"),
        ("w/loop", "loop"),
        ("w/dangling", "nothing"),
        ("w/up", ".."),
    ] {
        symlink(to, root.join(link)).unwrap();
    }
    // Followed by nobody but its owner where fs.protected_symlinks is set.
    symlink("../real", root.join("w/sticky/link")).unwrap();
    lchown(root.join("w/sticky/link"), Some(4242), Some(4242)).unwrap();
    for (name, mode, uid) in [
        ("w/file", 0o644, 0),
        ("w/own", 0o644, 1000),
        ("w/suid", 0o6777, 1000),
        ("w/sticky/other", 0o666, 4242),
    ] {
        fs::write(root.join(name), name).unwrap();
        chown(root.join(name), Some(uid), Some(uid)).unwrap();
        fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
}

/// Lets user 2000 into everything made here, and nobody but owner and group (`acl(5)`; the attribute's format is
/// that of `include/uapi/linux/posix_acl_xattr.h`).
fn set_default_acl(folder: &Path) {
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    let mut acl = 2_u32.to_ne_bytes().to_vec();
    for (tag, permissions, id) in [
        (USER_OBJ, 7_u16, u32::MAX),
        (USER, 7, 2000),
        (GROUP_OBJ, 5, u32::MAX),
        (MASK, 5, u32::MAX),
        (OTHER, 0, u32::MAX),
    ] {
        acl.extend(tag.to_ne_bytes().into_iter().chain(permissions.to_ne_bytes()).chain(id.to_ne_bytes()));
    }
    rustix::fs::setxattr(folder, "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty()).unwrap();
}

/// Mode, owner, group, device, link content, and extended attributes, of which access control lists are some.
pub(crate) type Entry = (u32, u32, u32, u64, Option<PathBuf>, Attributes);

/// Values by name, or why one cannot be read.
type Attributes = BTreeMap<String, Result<Vec<u8>, Errno>>;

/// Everything in a tree.
pub(crate) fn listing(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let link = fs::read_link(&path).ok();
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().to_owned();
        let attributes = attributes(&path);
        found.insert(name, (meta.mode(), meta.uid(), meta.gid(), meta.rdev(), link, attributes));
    }
    found
}

fn attributes(path: &Path) -> Attributes {
    let (mut names, mut value) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // None where the file system has none.
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or_default();
    let names = String::from_utf8(names[..len].to_vec()).unwrap();
    let names = names.split_terminator('\0');
    names
        .map(|name| {
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]);
            (name.to_owned(), len.map(|len| value[..len].to_vec()))
        })
        .collect()
}
