use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::served::Served;

/// The listeners being served, found by the number that epoll gives back.
///
/// Looking one up takes a lock that only the users of that one listener share.
pub(super) struct Table {
    /// Cells are made a block at a time and never move.
    blocks: [OnceLock<Box<[Cell]>>; BLOCKS],
    free: Mutex<Free>,
}

/// Names one listener, and never another: an index, and how many had it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

type Cell = Mutex<(u32, Option<Arc<Served>>)>;

const BLOCK: usize = 256;
const BLOCKS: usize = 256;

#[derive(Default)]
struct Free {
    given_back: Vec<u32>,
    made: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { blocks: [const { OnceLock::new() }; BLOCKS], free: Mutex::default() }
    }

    /// Puts in what `make` makes of the new key; `None` when 65,536 are there already.
    pub(super) fn insert(&self, make: impl FnOnce(Key) -> Served) -> Option<Arc<Served>> {
        let index = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.given_back.pop().or_else(|| {
                let index = free.made;
                (index < u32::try_from(BLOCK * BLOCKS).unwrap_or(u32::MAX)).then(|| {
                    free.made += 1;
                    index
                })
            })?
        };
        let mut cell = self.cell(index)?.lock().unwrap_or_else(PoisonError::into_inner);
        let served = Arc::new(make(Key { index, generation: cell.0 }));
        cell.1 = Some(Arc::clone(&served));
        Some(served)
    }

    pub(super) fn find(&self, key: Key) -> Option<Arc<Served>> {
        let cell = self.cell(key.index)?.lock().unwrap_or_else(PoisonError::into_inner);
        if cell.0 == key.generation { cell.1.clone() } else { None }
    }

    /// Takes it out: `None` if somebody else has.
    pub(super) fn remove(&self, key: Key) -> Option<Arc<Served>> {
        let served = {
            let mut cell = self.cell(key.index)?.lock().unwrap_or_else(PoisonError::into_inner);
            if cell.0 != key.generation {
                return None;
            }
            cell.0 = cell.0.wrapping_add(1);
            cell.1.take()
        };
        self.free.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(key.index);
        served
    }

    fn cell(&self, index: u32) -> Option<&Cell> {
        let index = usize::try_from(index).ok()?;
        let block = self.blocks.get(index / BLOCK)?;
        block.get_or_init(|| (0..BLOCK).map(|_| Cell::default()).collect()).get(index % BLOCK)
    }
}

impl Key {
    /// What stands for all keys in an epoll event that is no listener's.
    pub(super) const NONE: u64 = u64::MAX;

    pub(super) fn as_u64(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    #[allow(clippy::cast_possible_truncation)] // The two halves.
    pub(super) fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_way_through_epoll() {
        let key = Key { index: 7, generation: 9 };
        assert_eq!(Key::from_u64(key.as_u64()), key);
    }
}
