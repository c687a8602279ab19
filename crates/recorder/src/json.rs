use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_syscall::{Arch, Syscall};
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::recording::{Recording, Seen};
use crate::values::MAX_VALUES;
use crate::watched::Watched;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// The largest recording that is read. All calls of three architectures with all argument values that are kept take
/// some 300 KB.
pub const MAX_RECORDING_BYTES: usize = 4 << 20;

/// Why bytes are not a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Larger than any recording.
    #[error("a recording of {size} bytes is above the limit of {MAX_RECORDING_BYTES} bytes")]
    TooLarge {
        /// How large, in bytes.
        size: usize,
    },
    /// Written by another version of this program.
    #[error("the recording has version {found}, this program reads version {VERSION}")]
    Version {
        /// What it says.
        found: u64,
    },
    /// Not JSON, or not that of a recording.
    #[error("not a recording: {0}")]
    Content(#[source] serde_json::Error),
}

impl Recording {
    /// Reads what [`to_json`](Self::to_json) wrote.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        if bytes.len() > MAX_RECORDING_BYTES {
            return Err(ParseError::TooLarge { size: bytes.len() });
        }
        let Versioned { version: found } = serde_json::from_slice(bytes).map_err(ParseError::Content)?;
        if found != VERSION {
            return Err(ParseError::Version { found });
        }
        serde_json::from_slice(bytes).map_err(ParseError::Content)
    }

    /// Writes the recording, indented, with calls in the order of their names.
    #[expect(clippy::expect_used, reason = "nothing in a recording can fail to be written")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("only a map with keys that are no strings cannot be written");
        text.push('\n');
        text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRecording {
    version: u64,
    runs: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    runtimes: BTreeSet<String>,
    /// OCI names of architectures; in each, names of calls, or their numbers.
    calls: BTreeMap<String, BTreeMap<String, RawSeen>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    elsewhere: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    amended: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeen {
    count: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    starting: u64,
    runs: u64,
    first: u64,
    last: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arguments: Option<Arguments>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Recording> for RawRecording {
    fn from(recording: Recording) -> Self {
        let mut calls: BTreeMap<String, BTreeMap<String, RawSeen>> = BTreeMap::new();
        for (syscall, seen) in recording.calls {
            let Seen { count, starting, runs, first, last, arguments } = seen;
            let name = syscall.name().map_or_else(|| syscall.number.to_string(), str::to_owned);
            let arch = syscall.arch.oci_name().unwrap_or_default().to_owned();
            let seen = RawSeen { count, starting, runs, first, last, arguments };
            calls.entry(arch).or_default().insert(name, seen);
        }
        Self {
            version: VERSION,
            runs: recording.runs,
            runtimes: recording.runtimes,
            calls,
            elsewhere: recording.elsewhere,
            amended: recording.amended,
        }
    }
}

impl TryFrom<RawRecording> for Recording {
    type Error = String;

    fn try_from(raw: RawRecording) -> Result<Self, String> {
        let mut calls = BTreeMap::new();
        for (arch, seen) in raw.calls {
            let arch = Arch::from_oci_name(&arch).ok_or_else(|| format!("{arch:?} is no architecture"))?;
            for (name, seen) in seen {
                let syscall = call(arch, &name)?;
                let seen = checked(syscall, seen, raw.runs).map_err(|wrong| format!("{name}: {wrong}"))?;
                // A number and the name that it has by now may both be there.
                if calls.insert(syscall, seen).is_some() {
                    return Err(format!("{name} is there twice"));
                }
            }
        }
        let mut recording = Self {
            runs: raw.runs,
            runtimes: raw.runtimes,
            calls,
            elsewhere: raw.elsewhere,
            amended: BTreeSet::new(),
        };
        for name in &raw.amended {
            recording.amend(name).map_err(|unknown| unknown.to_string())?;
        }
        Ok(recording)
    }
}

fn call(arch: Arch, name: &str) -> Result<Syscall, String> {
    let numbered = || name.parse().ok().map(|number| Syscall::new(arch, number));
    let found = Syscall::named(arch, name).or_else(numbered);
    found.ok_or_else(|| format!("{arch} has no system call named {name:?}"))
}

fn checked(syscall: Syscall, raw: RawSeen, all_runs: u64) -> Result<Seen, String> {
    let RawSeen { count, starting, runs, first, last, arguments } = raw;
    if count == 0 || runs == 0 || runs > all_runs || starting > count || first > last {
        return Err("the counts or times contradict each other".to_owned());
    }
    if let Some(Arguments::Values(values)) = &arguments {
        let (_, watched) = Watched::find(syscall).ok_or("the arguments of this call are not recorded")?;
        let fits = (1..=MAX_VALUES).contains(&values.len());
        if !fits || !values.iter().all(|values| watched.could_be(values)) {
            return Err("these arguments could not have been recorded".to_owned());
        }
    }
    Ok(Seen { count, starting, runs, first, last, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::recording;
    use proptest::prelude::*;

    fn refusal(calls: &str) -> String {
        let text = format!(r#"{{"version": 1, "runs": 2, "calls": {{"SCMP_ARCH_X86_64": {{{calls}}}}}}}"#);
        Recording::from_json(text.as_bytes()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_could_not_have_been_recorded_is_refused() {
        let seen = |more: &str| format!(r#"{{"count": 1, "runs": 1, "first": 5, "last": 6{more}}}"#);
        for (calls, expected) in [
            (format!(r#""raed": {}"#, seen("")), "named \"raed\""),
            (r#""read": {"count": 0, "runs": 1, "first": 5, "last": 6}"#.to_owned(), "contradict"),
            (r#""read": {"count": 1, "runs": 3, "first": 5, "last": 6}"#.to_owned(), "contradict"),
            (format!(r#""read": {}"#, seen(r#", "starting": 2"#)), "contradict"),
            (format!(r#""read": {}"#, seen(r#", "arguments": {"values": [[1]]}"#)), "not recorded"),
            (format!(r#""socket": {}"#, seen(r#", "arguments": {"values": [[1]]}"#)), "could not"),
            (format!(r#""mprotect": {}"#, seen(r#", "arguments": {"values": [[7]]}"#)), "could not"),
            (format!(r#""socket": {}"#, seen(r#", "arguments": {"values": []}"#)), "could not"),
            (format!(r#""read": {0}, "0": {0}"#, seen("")), "twice"),
            (format!(r#""read": {}"#, seen(r#", "colour": 2"#)), "unknown field"),
        ] {
            let message = refusal(&calls);
            assert!(message.contains(expected), "{calls}: {message}");
        }
    }

    #[test]
    fn a_number_that_has_no_name_yet_is_kept() {
        let text = r#"{"version": 1, "runs": 1, "calls": {"SCMP_ARCH_X86_64":
            {"571": {"count": 1, "runs": 1, "first": 5, "last": 6}}}}"#;
        let recording = Recording::from_json(text.as_bytes()).unwrap();
        assert_eq!(recording.seen(Syscall::new(Arch::X86_64, 571)).map(|seen| seen.count), Some(1));
        assert!(recording.to_json().contains("\"571\""));
    }

    #[test]
    fn another_version_is_told_before_its_content() {
        let refused = Recording::from_json(br#"{"version": 2, "news": true}"#);
        assert!(matches!(refused, Err(ParseError::Version { found: 2 })));
        assert!(matches!(Recording::from_json(b"{"), Err(ParseError::Content(_))));
        let large = vec![b' '; MAX_RECORDING_BYTES + 1];
        assert!(matches!(Recording::from_json(&large), Err(ParseError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(recording in recording()) {
            prop_assert_eq!(Recording::from_json(recording.to_json().as_bytes()).unwrap(), recording);
        }

        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>) {
            let _any = Recording::from_json(&bytes);
        }
    }
}
