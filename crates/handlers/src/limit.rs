use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many records may be written in a time. A container can make every one of its calls one.
#[derive(Debug)]
pub(crate) struct Limit {
    most: u32,
    window: Mutex<Window>,
}

/// The time that records are counted for.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Window {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Limit {
    /// At most this many in each [`WINDOW`].
    pub(crate) const fn of(most: u32) -> Self {
        Self { most, window: Mutex::new(Window { began: None, written: 0, left_out: 0 }) }
    }

    /// How many were left out since the last one, if one more may be written at `now`.
    pub(crate) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written == self.most {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.left_out))
    }

    /// How many were left out since the last one that was not.
    pub(crate) fn left_out(&self) -> u64 {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let (limit, start) = (Limit::of(10), Instant::now());
        for _ in 0..10 {
            assert_eq!(limit.one_more(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(limit.one_more(start + WINDOW / 2), None);
        }
        assert_eq!(limit.left_out(), 1000);
        assert_eq!(limit.one_more(start + WINDOW), Some(1000));
        assert_eq!(limit.one_more(start + WINDOW), Some(0));
        assert_eq!(limit.left_out(), 0);
    }
}
