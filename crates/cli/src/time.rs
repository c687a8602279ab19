//! Times for people: seconds since 1970 as a date, and back.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// A moment, in seconds since 1970, that is told as a date, or as how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u64);

/// A duration that is told with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) std::time::Duration);

/// `2026-11-22 21:05:00`, in UTC.
pub(crate) fn written(seconds: u64) -> String {
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "a duration is a number and its unit, such as 30s, 10m, 12h or 7d";
        let unit = text.chars().last().ok_or(WRONG)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => DAY,
            _ => return Err(WRONG),
        };
        let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or(WRONG)?;
        let total = number.checked_mul(seconds).filter(|total| *total <= MAX_SPAN).ok_or(WRONG)?;
        Ok(Self(std::time::Duration::from_secs(total)))
    }
}

/// A hundred years: sums with it fit wherever times are kept.
const MAX_SPAN: u64 = 100 * 366 * DAY;

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "a time is a date, such as 2026-11-22, or how long ago, such as 12h or 7d";
        if let Ok(Span(ago)) = text.parse() {
            return Ok(Self(now().saturating_sub(ago.as_secs())));
        }
        let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
        let mut part = || parts.next().and_then(Result::ok).ok_or(WRONG);
        let (year, month, day) = (part()?, part()?, part()?);
        let days = (1970..=9999).contains(&year).then(|| days(year, month, day)).ok_or(WRONG)?;
        // A day that a month does not have would be one of another month.
        if date(days) == (year, month, day) { Ok(Self(days * DAY)) } else { Err(WRONG) }
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// The day since 1970, by the same source.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month.saturating_sub(3) } else { month + 9 };
    let day_of_year = (153_u64.saturating_mul(shifted).saturating_add(2) / 5).saturating_add(day);
    let day_of_era = (year_of_era * 365 + year_of_era / 4 - year_of_era / 100)
        .saturating_add(day_of_year.saturating_sub(1));
    (era * 146_097).saturating_add(day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_385_045, "2026-11-22 22:04:05"),
        ] {
            assert_eq!(written(seconds), text);
        }
    }

    #[test]
    fn dates_are_read_and_what_is_none_is_not() {
        assert_eq!("2000-02-29".parse(), Ok(Moment(951_782_400)));
        assert_eq!("1970-01-01".parse(), Ok(Moment(0)));
        for text in ["2001-02-29", "2026-13-01", "2026-00-01", "2026-11-00", "2026-11", "", "x", "1969-01-01"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let huge = format!("2026-{0}-{0}", u64::MAX);
        assert!(huge.parse::<Moment>().is_err());
    }

    #[test]
    fn every_day_is_read_as_it_is_written() {
        for day in 0..200_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, seconds) in [("30s", 30), ("2m", 120), ("12h", 43_200), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(text.parse::<Span>().map(|span| span.0.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["30", "", "s", "-1s", "1.5h", "30ä", "99999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
