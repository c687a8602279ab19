//! The same calls by a caller that has a privilege, and for one that is granted it.

use std::fmt::Debug;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use seccomp_agent_registry::Registry;

use super::tree::{Kind, build, kinds, listing};

/// What a caller has open while it tries calls.
pub(crate) struct Open {
    pub(crate) folder: OwnedFd,
    pub(crate) file: OwnedFd,
    pub(crate) other_file: OwnedFd,
    pub(crate) by_path: OwnedFd,
    pub(crate) pipe: OwnedFd,
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
        for (native, emulated) in native.iter().zip(&emulated) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        for (native, emulated) in native_tree.iter().zip(&emulated_tree) {
            assert_eq!(native, emulated, "{}", kind.name);
        }
        assert_eq!((native.len(), native_tree.len()), (emulated.len(), emulated_tree.len()), "{}", kind.name);
    }
    assert!(privilege_matters, "the calls succeed without it");
}

type Tree = Vec<(std::path::PathBuf, super::tree::Entry)>;

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
            // Opened with more rights, as descriptors that were handed down are.
            rustix::process::chdir(here.join("w")).unwrap();
            let open = |path: &str, flags| open(path, flags, Mode::empty()).unwrap();
            let opened = Open {
                folder: open("real", OFlags::RDONLY),
                file: open("own", OFlags::RDONLY),
                other_file: open("file", OFlags::RDONLY),
                by_path: open("own", OFlags::PATH),
                pipe: rustix::pipe::pipe().unwrap().0,
            };
            OPEN.set(Some(opened));
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
