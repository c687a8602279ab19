use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many warnings a process may write in a time. A container can make every one of its calls fail.
#[derive(Debug)]
pub(crate) struct Warnings(Mutex<Window>);

/// How many warnings are written in each [`WINDOW`]: enough to see what is wrong.
const MAX_WARNINGS: u32 = 10;

/// The time that the warnings are counted for.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Window {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Warnings {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Window { began: None, written: 0, left_out: 0 }))
    }

    /// How many were left out since the last one, if one more may be written at `now`.
    pub(crate) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written == MAX_WARNINGS {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let (warnings, start) = (Warnings::new(), Instant::now());
        for _ in 0..MAX_WARNINGS {
            assert_eq!(warnings.one_more(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(warnings.one_more(start + WINDOW / 2), None);
        }
        assert_eq!(warnings.one_more(start + WINDOW), Some(1000));
        assert_eq!(warnings.one_more(start + WINDOW), Some(0));
    }
}
