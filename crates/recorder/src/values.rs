use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// More different argument values than this of one call are "any": a rule for each would be a profile that nobody
/// reads, and a container can make up as many as it likes.
pub(crate) const MAX_VALUES: usize = 32;

/// A set of words that threads add to without waiting for each other. It is never emptied, and full at
/// [`MAX_VALUES`].
#[derive(Default)]
pub(crate) struct Values {
    /// Each value plus 1, from the first on; 0 where there is none yet.
    slots: [AtomicU64; MAX_VALUES],
    too_many: AtomicBool,
}

impl Values {
    /// Adds a value. `None` is one that cannot be kept, so that the set no longer says everything.
    pub(crate) fn add(&self, value: Option<u64>) {
        if self.too_many.load(Ordering::Relaxed) {
            return;
        }
        let Some(mark) = value.and_then(|value| value.checked_add(1)) else {
            return self.too_many.store(true, Ordering::Relaxed);
        };
        for slot in &self.slots {
            let mut seen = slot.load(Ordering::Relaxed);
            if seen == 0 {
                let set = slot.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed);
                seen = set.map_or_else(|other| other, |_| mark);
            }
            if seen == mark {
                return;
            }
        }
        self.too_many.store(true, Ordering::Relaxed);
    }

    /// What was added; `None` if that was too much to keep.
    pub(crate) fn all(&self) -> Option<impl Iterator<Item = u64>> {
        let marks = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        let values = marks.take_while(|mark| *mark != 0).map(|mark| mark - 1);
        (!self.too_many.load(Ordering::Relaxed)).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(values: &Values) -> Option<Vec<u64>> {
        let mut all: Vec<_> = values.all()?.collect();
        all.sort_unstable();
        Some(all)
    }

    #[test]
    fn a_value_is_kept_once() {
        let values = Values::default();
        for value in [7, 0, 7, 0] {
            values.add(Some(value));
        }
        assert_eq!(sorted(&values), Some(vec![0, 7]));
    }

    #[test]
    fn one_value_more_than_fits_is_any() {
        let values = Values::default();
        let most = u64::try_from(MAX_VALUES).unwrap();
        (0..most).for_each(|value| values.add(Some(value)));
        assert_eq!(sorted(&values).map(|all| all.len()), Some(MAX_VALUES));
        values.add(Some(0));
        assert!(sorted(&values).is_some());
        values.add(Some(most));
        assert_eq!(sorted(&values), None);
    }

    #[test]
    fn what_cannot_be_kept_is_any() {
        for value in [None, Some(u64::MAX)] {
            let values = Values::default();
            values.add(value);
            assert_eq!(sorted(&values), None);
        }
    }

    #[test]
    fn threads_that_add_the_same_values_keep_each_once() {
        let values = Values::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|value| values.add(Some(value))));
            }
        });
        assert_eq!(sorted(&values), Some((0..20).collect()));
    }
}
