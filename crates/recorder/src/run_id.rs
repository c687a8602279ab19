use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which run of a container something was seen in. Ids of later runs are greater, as far as clocks agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(u128);

/// A text that is no [`RunId`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a run has {DIGITS} hexadecimal digits")]
pub struct InvalidRunId;

const DIGITS: usize = 32;

impl RunId {
    /// That of a run that begins now: the time, in microseconds since 1970, and 64 bits by chance.
    pub fn now() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        // The hasher's keys are the system's randomness.
        let chance = RandomState::new().hash_one((time, std::process::id()));
        Self((time << 64) | u128::from(chance))
    }

    /// When the run began, in seconds since 1970, by the clock of the machine that it ran on.
    pub fn began(self) -> u64 {
        u64::try_from((self.0 >> 64) / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let is_plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != DIGITS || !text.bytes().all(is_plain) {
            return Err(InvalidRunId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidRunId)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_each_is_read_as_it_is_written() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| RunId::now()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(id.began() > 1_500_000_000);
        }
        for text in ["", "0", "+0000000000000000000000000000000", "0000000000000000000000000000000G"] {
            assert_eq!(text.parse::<RunId>(), Err(InvalidRunId), "{text}");
        }
    }
}
