//! Which paths below a procfs mean the task that walks them: pure, so that it can be fuzzed.

/// A caller's names in the procfs of its own pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// What `/proc/self` says: the process.
    pub(crate) process: String,
    /// What `/proc/thread-self` says: the thread.
    pub(crate) thread: String,
}

/// A magic link of the caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnLink<'p> {
    /// Of the thread rather than of its process.
    pub(crate) of_thread: bool,
    pub(crate) link: Link<'p>,
    /// How many bytes of the path it takes.
    pub(crate) len: usize,
}

/// Which one. `exe` is not among them: in a runtime's own process it is a program of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link<'p> {
    Root,
    Cwd,
    /// The descriptor with this number.
    Fd(&'p str),
}

impl Names {
    pub(crate) fn new(process: u32, thread: u32) -> Self {
        Self { process: process.to_string(), thread: format!("{process}/task/{thread}") }
    }

    /// Whether `path`, relative to the root of a procfs, begins with a magic link of the caller's own:
    /// `self/cwd`, `thread-self/root`, `TGID/fd/N`, `self/task/TID/fd/N` and so on.
    pub(crate) fn own_link<'p>(&self, path: &'p [u8]) -> Option<OwnLink<'p>> {
        let mut rest = Components { path, at: 0 };
        let first = rest.next()?;
        let mut of_thread = first == b"thread-self";
        if !of_thread && first != b"self" && first != self.process.as_bytes() {
            return None;
        }
        let mut entry = rest.next()?;
        if entry == b"task" && !of_thread {
            let tid = self.thread.rsplit('/').next()?;
            if rest.next()? != tid.as_bytes() {
                return None;
            }
            of_thread = true;
            entry = rest.next()?;
        }
        let link = match entry {
            b"root" => Link::Root,
            b"cwd" => Link::Cwd,
            b"fd" => {
                let number = std::str::from_utf8(rest.next()?).ok()?;
                // Written as procfs writes it, or it is no entry.
                (number.parse::<u32>().ok()?.checked_ilog10().unwrap_or(0) as usize + 1 == number.len())
                    .then_some(Link::Fd(number))?
            }
            _ => return None,
        };
        Some(OwnLink { of_thread, link, len: rest.at })
    }
}

/// The components of a path but `.`, and how far they have been taken.
struct Components<'p> {
    path: &'p [u8],
    at: usize,
}

impl<'p> Iterator for Components<'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        loop {
            let rest = self.path.get(self.at..)?;
            let start = self.at + rest.iter().position(|byte| *byte != b'/')?;
            let len = self.path[start..].iter().position(|byte| *byte == b'/');
            self.at = len.map_or(self.path.len(), |len| start + len);
            match &self.path[start..self.at] {
                b"." => {}
                component => return Some(component),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_path_makes_looking_for_own_links_panic(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Names::new(5, 7).own_link(&path);
        }

        #[test]
        fn what_is_taken_ends_with_a_component(
            path in "(/|\\./){0,2}(self|thread-self|5|6)/(\\./)?(task/7/)?(root|cwd|fd/[0-9]{1,3}|exe|x)(/.{0,5})?",
        ) {
            if let Some(own) = Names::new(5, 7).own_link(path.as_bytes()) {
                prop_assert!(own.len <= path.len() && !path[..own.len].ends_with('/'));
                prop_assert!(path[own.len..].is_empty() || path[own.len..].starts_with('/'));
                prop_assert!(!path.contains("exe") && !path.starts_with('6'));
            }
        }
    }

    #[test]
    fn the_callers_own_links_are_told_from_all_others() {
        let names = Names::new(5, 7);
        assert_eq!(names.thread, "5/task/7");
        for (path, expected) in [
            ("self/root", Some((false, Link::Root, 9))),
            ("self/cwd/x/y", Some((false, Link::Cwd, 8))),
            ("5/cwd", Some((false, Link::Cwd, 5))),
            ("thread-self/cwd/", Some((true, Link::Cwd, 15))),
            ("self/task/7/root", Some((true, Link::Root, 16))),
            ("5/task/7/fd/12/x", Some((true, Link::Fd("12"), 14))),
            ("./self//.//fd/0", Some((false, Link::Fd("0"), 15))),
            ("self", None),
            ("self/fd", None),
            ("self/fd/", None),
            ("self/fd/x", None),
            ("self/fd/07", None),
            ("self/fd/+7", None),
            ("self/fd/..", None),
            ("self/../self/root", None),
            ("self/task/8/root", None),
            ("self/exe", None),
            ("self/ns/mnt", None),
            ("6/root", None),
            ("05/root", None),
            ("sel/root", None),
            ("", None),
        ] {
            let found = names.own_link(path.as_bytes()).map(|own| (own.of_thread, own.link, own.len));
            assert_eq!(found, expected, "{path}");
        }
    }
}
