use std::ffi::{CStr, CString};

/// A path to something that is to be made: the directory it goes into, and its name there.
///
/// Made before acting: while a thread acts it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPath {
    pub(crate) parent: CString,
    pub(crate) name: CString,
}

impl EntryPath {
    /// Takes a path apart as the kernel does for a last component that it does not follow: trailing slashes
    /// belong to the name, and the name of the root is `.`, which exists.
    pub fn new(path: &CStr) -> Self {
        Self::with_suffix(path, "")
    }

    /// [`new`](Self::new) with something appended to the name, before any trailing slashes. `.` and `..` are no
    /// names and stay as they are. NUL bytes in the suffix are dropped and slashes as well: it becomes part of
    /// one component.
    pub fn with_suffix(path: &CStr, suffix: &str) -> Self {
        let path = path.to_bytes();
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let (path, slashes) = path.split_at(end);
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(start);
        // An empty path stays one: ENOENT. Slashes alone are the root.
        let (parent, name) = match (path, slashes) {
            (b"", b"") => (&b""[..], &b""[..]),
            (b"", _) => (&b"/"[..], &b"."[..]),
            _ if parent.is_empty() => (&b"."[..], name),
            _ => (parent, name),
        };
        let mut whole = name.to_vec();
        if !matches!(name, b"" | b"." | b"..") {
            whole.extend(suffix.bytes().filter(|byte| !matches!(byte, b'/' | b'\0')));
        }
        if end > 0 {
            whole.extend_from_slice(slashes);
        }
        let mut directory = parent.to_vec();
        if parent.len() > 1 && parent.ends_with(b"/") {
            // The kernel protects links at the end of a path from being followed (`fs.protected_symlinks`), and in
            // the caller's path this is not its end.
            directory.push(b'.');
        }
        // Parts of a string without NUL bytes have none.
        Self {
            parent: CString::new(directory).unwrap_or_default(),
            name: CString::new(whole).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_one_component_and_the_parts_make_up_the_path(path in "[a./]{0,12}", suffix in "[-x/.]{0,4}") {
            let c_path = CString::new(path.clone()).unwrap();
            let split = EntryPath::new(&c_path);
            let (parent, name) = (split.parent.to_str().unwrap(), split.name.to_str().unwrap());
            prop_assert!(!name.trim_end_matches('/').contains('/'));
            prop_assert!(parent.is_empty() == path.is_empty());
            if !path.trim_end_matches('/').is_empty() {
                let directory = parent.strip_suffix("/.").map_or(parent, |_| &parent[..parent.len() - 1]);
                prop_assert!([directory, name].concat() == path || (parent == "." && name == path));
            }
            let longer = EntryPath::with_suffix(&c_path, &suffix);
            prop_assert_eq!(&longer.parent, &split.parent);
            prop_assert!(!longer.name.to_str().unwrap().trim_end_matches('/').contains('/'));
        }
    }

    #[test]
    fn a_path_is_taken_apart_as_the_kernel_does() {
        for (path, parent, name) in [
            (c"a", c".", c"a"),
            (c"a/", c".", c"a/"),
            (c"a/b", c"a/.", c"b"),
            (c"a//b//", c"a//.", c"b//"),
            (c"/a", c"/", c"a"),
            (c"//a", c"//.", c"a"),
            (c"/", c"/", c"."),
            (c"//", c"/", c"."),
            (c".", c".", c"."),
            (c"..", c".", c".."),
            (c"a/..", c"a/.", c".."),
            (c"a/./", c"a/.", c"./"),
            (c"", c"", c""),
        ] {
            let split = EntryPath::new(path);
            assert_eq!((split.parent.as_c_str(), split.name.as_c_str()), (parent, name), "{path:?}");
        }
    }

    #[test]
    fn a_suffix_joins_the_name_and_never_leaves_it() {
        for (path, suffix, name) in [
            (c"a", "-pid-7", c"a-pid-7"),
            (c"a//", "-pid-7", c"a-pid-7//"),
            (c"x/..", "-pid-7", c".."),
            (c"/", "-pid-7", c"."),
            (c"", "-pid-7", c""),
            (c"a", "/../b\0c", c"a..bc"),
        ] {
            assert_eq!(EntryPath::with_suffix(path, suffix).name.as_c_str(), name, "{path:?}");
        }
    }
}
