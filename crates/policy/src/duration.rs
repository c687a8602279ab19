use std::time::Duration;

/// A time span as Go and systemd write it: `50ms`, `2s`, `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^(0|([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"))
)]
#[serde(try_from = "String")]
pub(crate) struct Delay(pub(crate) Duration);

/// The longest delay. A caller that is to wait longer is better refused: its memory and its place in the table of
/// pending calls stay taken meanwhile.
const MAX: Duration = Duration::from_secs(3600);

/// Units, in nanoseconds; each before those that it begins with. Micro is written by either of its signs.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

impl TryFrom<String> for Delay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Delay {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // The only number that means the same in all units.
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let wrong = || format!("{text:?} is no duration such as 50ms, 2s or 1m30s");
        let (mut rest, mut nanoseconds) = (text, 0.0);
        loop {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            let (unit, factor) =
                UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit)).ok_or_else(wrong)?;
            nanoseconds += number * factor;
            rest = &rest[digits + unit.len()..];
            if rest.is_empty() {
                break;
            }
        }
        match Duration::try_from_secs_f64(nanoseconds / 1e9) {
            Ok(delay) if delay <= MAX => Ok(Self(delay)),
            _ => Err(format!("{text:?} is longer than the longest delay, 1h")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("50ms", 50),
            ("2s", 2000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            (".5s", 500),
            ("1.s", 1000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("0", 0),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
            ("2000\u{3bc}s", 2),
            ("2000000ns", 2),
        ] {
            assert_eq!(Delay::parse(text), Ok(Delay(Duration::from_millis(milliseconds))), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2",
            "00",
            "s",
            "2 s",
            "-1s",
            "+1s",
            "1s2",
            "1d",
            ".",
            ".s",
            "1..2s",
            "2h",
            "1e9h",
            "999999999999h",
        ] {
            assert!(Delay::parse(text).is_err(), "{text}");
        }
    }
}
