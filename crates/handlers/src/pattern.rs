use std::fmt;

/// A pattern for a path: `*` stands for any bytes, slashes included, `?` for one, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// Every string is a pattern.
    pub fn new(pattern: impl Into<Vec<u8>>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole of `path` is of this pattern. Takes time in proportion to the product of both lengths
    /// at most.
    pub fn matches(&self, path: &[u8]) -> bool {
        let pattern = &self.0;
        let (mut p, mut s) = (0, 0);
        // Where to go on when what follows the last `*` does not match: it swallows one byte more.
        let mut retry = None;
        loop {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p, s));
                    p += 1;
                    continue;
                }
                None if s == path.len() => return true,
                Some(byte) if path.get(s).is_some_and(|at| *byte == b'?' || byte == at) => {
                    (p, s) = (p + 1, s + 1);
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((star, from)) if from < path.len() => {
                    retry = Some((star, from + 1));
                    (p, s) = (star + 1, from + 1);
                }
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, matches) in [
            ("/bin/true", "/bin/true", true),
            ("/bin/true", "/bin/truer", false),
            ("/bin/true", "x/bin/true", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "/a/b", true),
            ("*/true", "/usr/bin/true", true),
            ("*/true", "true", false),
            ("/bin/*sh", "/bin/bash", true),
            ("/bin/*sh", "/bin/bashed", false),
            ("/*/*/c", "/a/b/b/c", true),
            ("/b?n/*", "/bin/", true),
            ("/b?n/*", "/bn/", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("*a", "aaab", false),
            ("**", "x", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path.as_bytes()), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_path_made_to_be_slow_is_not() {
        let pattern = Pattern::new("*a".repeat(100) + "b");
        assert!(!pattern.matches("a".repeat(4095).as_bytes()));
    }
}
