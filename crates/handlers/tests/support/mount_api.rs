//! The program that mounts step by step, and who lets it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccomp_agent_handlers::{FileSystem, FileSystemGrant, Mount};
use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;

use crate::support;

pub(crate) fn granted() -> Registry {
    let all = FileSystem::ALL.into_iter().filter(|kind| *kind != FileSystem::Tmpfs);
    let tmpfs = FileSystemGrant { options: Some(vec!["size".to_owned()]), ..FileSystem::Tmpfs.into() };
    answering(&Mount::granting(all.map(FileSystemGrant::from).chain([tmpfs])))
}

/// With binds and propagation.
pub(crate) fn all() -> Registry {
    answering(&Mount::granting(FileSystem::ALL).with_binds().with_propagation())
}

fn answering(mount: &Mount) -> Registry {
    let mut registry = Registry::new();
    for name in
        ["fsopen", "fspick", "fsconfig", "fsmount", "mount_setattr", "move_mount", "open_tree", "mount"]
    {
        registry.on(name, mount.clone()).unwrap();
    }
    registry
}

/// What one part of the program says, in a directory, a mount namespace and a pid namespace of its own; natively
/// with `CAP_SYS_ADMIN`, else without.
pub(crate) fn program(part: &str, registry: Option<Registry>, features: Features, uid: u32) -> String {
    program_after(part, registry, features, uid, || ())
}

/// [`program`] in a mount namespace that `prepare` has changed.
pub(crate) fn program_after(
    part: &str,
    registry: Option<Registry>,
    features: Features,
    uid: u32,
    prepare: impl FnOnce() + Send + 'static,
) -> String {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["d", "e", "f"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("file"), "").unwrap();
    symlink("d", folder.path().join("link")).unwrap();
    let program = support::program::compile("mount_api", folder.path());
    let command = format!("{} {part} {}", program.display(), folder.path().display());
    let may_mount = registry.is_none();
    let transform = move || {
        support::unshare_namespaces();
        prepare();
        if !may_mount {
            remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN).unwrap();
        }
    };
    let said = support::script(registry, features, uid, transform, command);
    let ours = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!ours.contains(folder.path().to_str().unwrap()), "it is seen on the host");
    said
}
