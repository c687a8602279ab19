//! Arguments that several families take, read as the kernel does.

use std::fmt;
use std::ops::RangeInclusive;

use rustix::fs::{AtFlags, Mode};
use seccomp_agent_registry::Errno;

/// The part of a mode argument that is not the type.
#[allow(clippy::cast_possible_truncation)] // As the kernel does: `umode_t` is an `unsigned short`.
pub(crate) fn permissions(mode: u64) -> Mode {
    Mode::from_raw_mode(u32::from(mode as u16))
}

/// What a decision by a list rests on, in records.
pub(crate) const fn listed(is_listed: bool) -> &'static str {
    if is_listed { "listed" } else { "not listed, so with the caller's own rights" }
}

/// How a path is looked up: `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`; EINVAL for any other flag.
pub(crate) fn lookup_flags(flags: i32) -> Result<AtFlags, Errno> {
    let flags = AtFlags::from_bits_retain(flags.cast_unsigned());
    let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    if known.contains(flags) { Ok(flags) } else { Err(Errno::INVAL) }
}

/// Numbers that an administrator lists: user and group ids, device numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<RangeInclusive<u32>>);

impl Numbers {
    /// No number at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every number.
    pub fn all() -> Self {
        Self(vec![0..=u32::MAX])
    }

    /// Whether `number` is listed.
    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (*range.start(), *range.end()) {
                (0, u32::MAX) => write!(f, "{comma}*")?,
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromIterator<RangeInclusive<u32>> for Numbers {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u32>>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_kernel_refuses_are_refused() {
        assert_eq!(lookup_flags(0), Ok(AtFlags::empty()));
        assert_eq!(lookup_flags(0x1100), Ok(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH));
        assert_eq!(lookup_flags(0x400), Err(Errno::INVAL));
        assert_eq!(lookup_flags(-1), Err(Errno::INVAL));
    }

    #[test]
    fn modes_lose_their_type_and_what_is_beyond_them() {
        assert_eq!(permissions(0o104_755).as_raw_mode(), 0o4755);
        assert_eq!(permissions(u64::MAX).as_raw_mode(), 0o7777);
    }

    #[test]
    fn listed_numbers_are_contained() {
        let numbers: Numbers = [1000..=1999, 5..=5].into_iter().collect();
        let found: Vec<u32> =
            [4, 5, 6, 999, 1000, 1999, 2000].into_iter().filter(|number| numbers.contains(*number)).collect();
        assert_eq!(found, [5, 1000, 1999]);
        assert!(Numbers::all().contains(u32::MAX) && !Numbers::none().contains(0));
    }
}
