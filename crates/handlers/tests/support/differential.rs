//! The same calls by a caller that has a privilege, and for one that is granted it.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use seccomp_agent_registry::Registry;

use super::inside;
use super::tree::{Kind, build, kinds, listing};

/// What a caller has open while it tries calls.
pub(crate) struct Open {
    pub(crate) folder: OwnedFd,
    pub(crate) file: OwnedFd,
    pub(crate) other_file: OwnedFd,
    pub(crate) by_path: OwnedFd,
    pub(crate) pipe: OwnedFd,
}

impl Open {
    /// Opened with more rights than the caller will have.
    fn what_was_handed_down(root: &Path) -> Self {
        let open = |path: &str, flags| open(root.join("w").join(path), flags, Mode::empty()).unwrap();
        Self {
            folder: open("real", OFlags::RDONLY),
            file: open("own", OFlags::RDONLY),
            other_file: open("file", OFlags::RDONLY),
            by_path: open("own", OFlags::PATH),
            pipe: rustix::pipe::pipe().unwrap().0,
        }
    }
}

/// Runs `calls` for callers of all kinds in a fresh tree: natively with `privilege` added to their
/// capabilities, and without it where `registry` answers. Both must say the same and leave the same behind.
pub(crate) fn compare<T: PartialEq + Debug + Send + 'static>(
    privilege: CapabilitySet,
    registry: impl Fn() -> Registry,
    calls: fn(&Open) -> Vec<T>,
) {
    let mut privilege_matters = privilege.is_empty();
    for kind in kinds() {
        let privileged = Kind { capabilities: kind.capabilities | privilege, ..kind.clone() };
        let (native, native_tree) = outcome(&privileged, None, calls);
        privilege_matters = privilege_matters || outcome(&kind, None, calls).0 != native;
        let (emulated, emulated_tree) = outcome(&kind, Some(registry()), calls);
        assert_same(kind.name, &native, &emulated);
        assert_same(kind.name, &native_tree, &emulated_tree);
    }
    assert!(privilege_matters, "the calls succeed without it");
}

/// [`compare`] for callers in a user namespace of their own, who have `privilege` there; in the test of the name
/// `test`, which does nothing else.
pub(crate) fn compare_inside<T: Debug>(
    test: &'static str,
    privilege: CapabilitySet,
    registry: impl Fn() -> Registry,
    calls: fn(&Open) -> Vec<T>,
) {
    if let Some((root, kind)) = inside::role() {
        let open = Open::what_was_handed_down(&root);
        kind.become_it(&root);
        return inside::tell(&calls(&open));
    }
    let program = inside::Program::of(test);
    let mut privilege_matters = privilege.is_empty();
    for kind in kinds() {
        let outcome = |registry, kind: &Kind| {
            let root = tempfile::tempdir_in("/tmp").unwrap();
            build(root.path());
            inside::give(root.path());
            let said = program.run(registry, root.path(), kind, || ());
            (said, listing(root.path()).into_iter().collect::<Tree>())
        };
        let privileged = Kind { capabilities: kind.capabilities | privilege, ..kind.clone() };
        let (native, native_tree) = outcome(None, &privileged);
        privilege_matters = privilege_matters || outcome(None, &kind).0 != native;
        let (emulated, emulated_tree) = outcome(Some(registry()), &kind);
        assert_same(kind.name, &native, &emulated);
        assert_same(kind.name, &native_tree, &emulated_tree);
    }
    assert!(privilege_matters, "the calls succeed without it");
}

/// One by one, so that a failure shows the one that differs.
pub(crate) fn assert_same<T: PartialEq + Debug>(who: &str, native: &[T], emulated: &[T]) {
    for (native, emulated) in native.iter().zip(emulated) {
        assert_eq!(native, emulated, "{who}");
    }
    assert_eq!(native.len(), emulated.len(), "{who}");
}

type Tree = Vec<(PathBuf, super::tree::Entry)>;

fn outcome<T: Send + 'static>(
    kind: &Kind,
    registry: Option<Registry>,
    calls: fn(&Open) -> Vec<T>,
) -> (Vec<T>, Tree) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let (here, who) = (root.path().to_owned(), kind.clone());
    let said = super::run(
        registry,
        move || {
            OPEN.set(Some(Open::what_was_handed_down(&here)));
            who.become_it(&here);
        },
        move || OPEN.with_borrow(|open| calls(open.as_ref().unwrap())),
    );
    (said, listing(root.path()).into_iter().collect())
}

thread_local! {
    static OPEN: std::cell::RefCell<Option<Open>> = const { std::cell::RefCell::new(None) };
}

/// An error of the other crate.
pub(crate) fn from_nix(outcome: nix::Result<()>) -> Result<(), Errno> {
    outcome.map_err(|errno| Errno::from_raw_os_error(errno as i32))
}
