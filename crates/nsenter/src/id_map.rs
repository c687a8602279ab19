//! Which ids of ours are which in another user namespace (`user_namespaces(7)`): pure, so that it can be fuzzed.

/// The ids of one kind, users or groups, that a user namespace maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<Extent>);

/// One line of a map: ids in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    inside: u32,
    /// In the user namespace of whoever has read the file.
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Reads a `uid_map` or `gid_map`. `None` if it is malformed. One that has not been written yet maps
    /// nothing.
    pub(crate) fn parse(map: &[u8]) -> Option<Self> {
        let lines = std::str::from_utf8(map).ok()?.lines();
        let extents = lines.map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some(Extent { inside, outside, count })
        });
        extents.collect::<Option<_>>().map(Self)
    }

    /// Whether it maps nothing: a map is written once, and may not have been yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What our `id` is inside; `None` if it has no number there.
    pub(crate) fn inside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|extent| {
            // -1 stands for ids that the reader has no numbers for.
            let offset = id.checked_sub(extent.outside).filter(|_| extent.outside != u32::MAX)?;
            (offset < extent.count).then(|| extent.inside.checked_add(offset))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_map_makes_parsing_or_looking_up_panic(map in "([ 0-9x-]{0,30}\n){0,4}", id: u32) {
            let _ = IdMap::parse(map.as_bytes()).map(|map| map.inside(id));
        }

        #[test]
        fn ids_in_a_row_stay_in_a_row(inside in 0_u32..1000, outside in 0_u32..1000, count in 1_u32..1000, id in 0_u32..3000) {
            let map = IdMap::parse(format!("{inside} {outside} {count}\n").as_bytes()).unwrap();
            let expected = (outside..outside + count).contains(&id).then(|| id - outside + inside);
            prop_assert_eq!(map.inside(id), expected);
        }
    }

    #[test]
    fn an_id_is_looked_for_in_every_line() {
        let map =
            IdMap::parse(b"         0     100000      65536\n     70000       1000          1\n").unwrap();
        for (ours, inside) in [
            (100_000, Some(0)),
            (101_000, Some(1000)),
            (165_535, Some(65_535)),
            (165_536, None),
            (1000, Some(70_000)),
            (1001, None),
            (0, None),
            (u32::MAX, None),
        ] {
            assert_eq!(map.inside(ours), inside, "{ours}");
        }
    }

    #[test]
    fn ids_that_the_reader_has_no_numbers_for_are_nobodys() {
        let map = IdMap::parse(b"0 4294967295 10\n").unwrap();
        assert_eq!(map.inside(u32::MAX), None);
        assert_eq!(map.inside(5), None);
        assert!(IdMap::parse(b"").unwrap().is_empty());
        for malformed in ["0 0", "0 0 1 1", "x 0 1", "-1 0 1"] {
            assert_eq!(IdMap::parse(malformed.as_bytes()), None, "{malformed}");
        }
    }
}
