//! Numbers that an administrator lists, and the devices that they name.

use std::ops::RangeInclusive;

use seccomp_agent_handlers::{Devices, Numbers};

/// User or group ids: `1000` or `1000-1999`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "IdForm"))]
#[serde(try_from = "String")]
pub(crate) struct Ids {
    pub(crate) text: String,
    pub(crate) range: RangeInclusive<u32>,
}

/// Device nodes as the kernel's device cgroup writes them: `c 1:3`, `b 7:*`, `c 4:0-63`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^[bc] ([0-9]+(-[0-9]+)?|\\*):([0-9]+(-[0-9]+)?|\\*)$"))
)]
#[serde(try_from = "String")]
pub(crate) struct DeviceNodes {
    pub(crate) text: String,
    pub(crate) devices: Devices,
}

/// What [`Ids`] look like to the schema.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)] // Only its shape is of use.
enum IdForm {
    /// One id.
    One(u32),
    /// A range of ids, first and last.
    Range(#[schemars(extend("pattern" = "^[0-9]+(-[0-9]+)?$"))] String),
}

impl TryFrom<String> for Ids {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match range(&text) {
            Some(range) => Ok(Self { text, range }),
            None => Err(format!("{text:?} is no id such as 1000 and no range such as 1000-1999")),
        }
    }
}

impl TryFrom<String> for DeviceNodes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match devices(&text) {
            Some(devices) => Ok(Self { text, devices }),
            None => Err(format!(
                "{text:?} is no device such as \"c 1:3\", \"b 7:*\" or \"c 4:0-63\", with numbers up to 4095:1048575"
            )),
        }
    }
}

/// The highest numbers that a device can have: 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

fn devices(text: &str) -> Option<Devices> {
    let (kind, numbers) = text.split_once(' ')?;
    let is_block = match kind {
        "b" => true,
        "c" => false,
        _ => return None,
    };
    let (major, minor) = numbers.split_once(':')?;
    let numbers = |text, highest| match text {
        "*" => Some(Numbers::all()),
        text => range(text).filter(|range| *range.end() <= highest).map(|range| Numbers::from_iter([range])),
    };
    Some(Devices { is_block, major: numbers(major, MAX_MAJOR)?, minor: numbers(minor, MAX_MINOR)? })
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    // `parse` takes a sign, which no id has.
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("1000", Some(1000..=1000)),
            ("1000-1999", Some(1000..=1999)),
            ("5-4", None),
            ("-5", None),
            ("+5", None),
            ("", None),
            ("1-2-3", None),
            ("4294967296", None),
        ] {
            assert_eq!(range(text), expected, "{text}");
        }
    }

    #[test]
    fn devices_are_read() {
        let null = devices("c 1:3").unwrap();
        assert!(
            !null.is_block && null.major.contains(1) && null.minor.contains(3) && !null.minor.contains(4)
        );
        let loops = devices("b 7:*").unwrap();
        assert!(loops.is_block && loops.minor.contains(1_000_000));
        for text in
            ["", "c", "c 1", "d 1:3", "c  1:3", "c 1:3 rwm", "c *", "c 1:-", "c 4096:0", "c 0:1048576"]
        {
            assert!(devices(text).is_none(), "{text}");
        }
    }
}
