use std::collections::{BTreeMap, BTreeSet};

use seccomp_agent_syscall::{Arch, Syscall};
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::facts::{Facts, MAX_LABEL, MAX_LABELS};
use crate::recording::{Earlier, MAX_EARLIER, MAX_RUNS, Recording};
use crate::run_id::RunId;
use crate::seen::{FirstCaller, Origin, Seen, is_obeyed};
use crate::values::MAX_VALUES;
use crate::watched::Watched;

/// The version that is written. The one before, which knew no single runs, is read too.
const VERSION: u64 = 2;

/// The largest recording that is read. A run of a hundred different calls takes some 10 KB, and there are at most 64.
pub const MAX_RECORDING_BYTES: usize = 16 << 20;

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
    #[error("the recording has version {found}, this program reads versions 1 to {VERSION}")]
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
        let Versioned { version } = serde_json::from_slice(bytes).map_err(ParseError::Content)?;
        let read = match version {
            1 => {
                serde_json::from_slice(bytes).and_then(|raw| added_up(raw).map_err(serde::de::Error::custom))
            }
            VERSION => serde_json::from_slice(bytes)
                .and_then(|raw| told_apart(raw).map_err(serde::de::Error::custom)),
            found => return Err(ParseError::Version { found }),
        };
        read.map_err(ParseError::Content)
    }

    /// Writes the recording, indented, with calls in the order of their names.
    #[expect(clippy::expect_used, reason = "nothing in a recording can fail to be written")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&Raw::from(self))
            .expect("only a map with keys that are no strings cannot be written");
        text.push('\n');
        text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u64,
    /// By their ids.
    #[serde(default)]
    runs: BTreeMap<String, RawFacts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<RawEarlier>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    amended: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEarlier {
    runs: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    ids: BTreeSet<String>,
    facts: RawFacts,
}

/// As version 1 had it: of all runs together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAddedUp {
    #[serde(rename = "version")]
    _version: u64,
    runs: u64,
    #[serde(default)]
    runtimes: BTreeSet<String>,
    calls: BTreeMap<String, BTreeMap<String, RawSeen>>,
    #[serde(default)]
    elsewhere: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFacts {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    runtimes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    images: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    workloads: BTreeSet<String>,
    /// OCI names of architectures; in each, names of calls, or their numbers.
    calls: BTreeMap<String, BTreeMap<String, RawSeen>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    elsewhere: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeen {
    count: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    starting: u64,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    runs: u64,
    first: u64,
    last: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arguments: Option<Arguments>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    by: BTreeSet<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<FirstCaller>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(count: &u64) -> bool {
    *count == 1
}

const fn one() -> u64 {
    1
}

impl From<&Recording> for Raw {
    fn from(recording: &Recording) -> Self {
        let Earlier { runs, ids, facts } = &recording.earlier;
        let earlier = RawEarlier {
            runs: *runs,
            ids: ids.iter().map(ToString::to_string).collect(),
            facts: facts.into(),
        };
        Self {
            version: VERSION,
            runs: recording.runs.iter().map(|(id, facts)| (id.to_string(), facts.into())).collect(),
            earlier: (*runs > 0).then_some(earlier),
            amended: recording.amended.clone(),
        }
    }
}

impl From<&Facts> for RawFacts {
    fn from(facts: &Facts) -> Self {
        let mut calls: BTreeMap<String, BTreeMap<String, RawSeen>> = BTreeMap::new();
        for (syscall, seen) in &facts.calls {
            let Seen { count, starting, runs, first, last, arguments, by, caller } = seen.clone();
            let name = syscall.name().map_or_else(|| syscall.number.to_string(), str::to_owned);
            let arch = syscall.arch.oci_name().unwrap_or_default().to_owned();
            let seen = RawSeen { count, starting, runs, first, last, arguments, by, caller };
            calls.entry(arch).or_default().insert(name, seen);
        }
        Self {
            runtimes: facts.runtimes.clone(),
            images: facts.images.clone(),
            workloads: facts.workloads.clone(),
            calls,
            elsewhere: facts.elsewhere,
            partial: facts.is_partial,
        }
    }
}

fn told_apart(raw: Raw) -> Result<Recording, String> {
    if raw.runs.len() > MAX_RUNS {
        return Err(format!("more than {MAX_RUNS} runs"));
    }
    let mut runs = BTreeMap::new();
    for (id, raw) in raw.runs {
        runs.insert(parsed(&id)?, facts(raw, 1)?);
    }
    let earlier = raw.earlier.map(earlier).transpose()?.unwrap_or_default();
    if let Some(id) = runs.keys().find(|id| earlier.ids.contains(id)) {
        return Err(format!("the run {id} is there twice"));
    }
    let mut recording = Recording { runs, earlier, amended: BTreeSet::new() };
    for name in &raw.amended {
        recording.amend(name).map_err(|unknown| unknown.to_string())?;
    }
    Ok(recording)
}

fn added_up(raw: RawAddedUp) -> Result<Recording, String> {
    let RawAddedUp { runs, runtimes, calls, elsewhere, .. } = raw;
    let labels = BTreeSet::new;
    let facts =
        RawFacts { runtimes, images: labels(), workloads: labels(), calls, elsewhere, partial: false };
    let earlier = earlier(RawEarlier { runs, ids: BTreeSet::new(), facts })?;
    Ok(Recording { earlier, ..Recording::default() })
}

fn earlier(raw: RawEarlier) -> Result<Earlier, String> {
    if raw.ids.len() > MAX_EARLIER || raw.ids.len() as u64 > raw.runs {
        return Err("more ids than runs".to_owned());
    }
    let ids = raw.ids.iter().map(|id| parsed(id)).collect::<Result<_, _>>()?;
    Ok(Earlier { runs: raw.runs, ids, facts: facts(raw.facts, raw.runs)? })
}

fn parsed(id: &str) -> Result<RunId, String> {
    id.parse().map_err(|invalid| format!("{id:?}: {invalid}"))
}

fn facts(raw: RawFacts, runs: u64) -> Result<Facts, String> {
    for labels in [&raw.runtimes, &raw.images, &raw.workloads] {
        let is_sound = |label: &String| label.len() <= MAX_LABEL && !label.contains(is_obeyed);
        if labels.len() > MAX_LABELS || !labels.iter().all(is_sound) {
            return Err(
                "these names of runtimes, images or workloads could not have been recorded".to_owned()
            );
        }
    }
    let mut calls = BTreeMap::new();
    for (arch, seen) in raw.calls {
        let arch = Arch::from_oci_name(&arch).ok_or_else(|| format!("{arch:?} is no architecture"))?;
        for (name, seen) in seen {
            let syscall = call(arch, &name)?;
            let seen = checked(syscall, seen, runs).map_err(|wrong| format!("{name}: {wrong}"))?;
            // A number and the name that it has by now may both be there.
            if calls.insert(syscall, seen).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
    }
    let RawFacts { runtimes, images, workloads, elsewhere, partial: is_partial, .. } = raw;
    Ok(Facts { runtimes, images, workloads, calls, elsewhere, is_partial })
}

fn call(arch: Arch, name: &str) -> Result<Syscall, String> {
    let numbered = || name.parse().ok().map(|number| Syscall::new(arch, number));
    let found = Syscall::named(arch, name).or_else(numbered);
    found.ok_or_else(|| format!("{arch} has no system call named {name:?}"))
}

fn checked(syscall: Syscall, raw: RawSeen, all_runs: u64) -> Result<Seen, String> {
    let RawSeen { count, starting, runs, first, last, arguments, by, caller } = raw;
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
    if caller.as_ref().is_some_and(|caller| !caller.is_sound()) {
        return Err("this caller could not have been recorded".to_owned());
    }
    Ok(Seen { count, starting, runs, first, last, arguments, by, caller })
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
            (
                format!(r#""read": {}"#, seen(r#", "caller": {"at": 5, "comm": "\u001b", "exe": ""}"#)),
                "caller",
            ),
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
    fn what_could_not_be_of_these_runs_is_refused() {
        let id = "0".repeat(31);
        let calls = r#"{"SCMP_ARCH_X86_64": {"read": {"count": 2, "runs": 2, "first": 5, "last": 6}}}"#;
        for (runs, expected) in [
            (format!(r#""runs": {{"{id}": {{"calls": {{}}}}}}"#), "hexadecimal"),
            (format!(r#""runs": {{"{id}0": {{"calls": {calls}}}}}"#), "contradict"),
            (
                format!(r#""earlier": {{"runs": 0, "ids": ["{id}0"], "facts": {{"calls": {{}}}}}}"#),
                "more ids",
            ),
            (
                format!(
                    r#""runs": {{"{id}0": {{"calls": {{}}}}}},
                    "earlier": {{"runs": 1, "ids": ["{id}0"], "facts": {{"calls": {{}}}}}}"#
                ),
                "there twice",
            ),
        ] {
            let text = format!(r#"{{"version": 2, {runs}}}"#);
            let message = Recording::from_json(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected), "{runs}: {message}");
        }
    }

    #[test]
    fn another_version_is_told_before_its_content() {
        let refused = Recording::from_json(br#"{"version": 3, "news": true}"#);
        assert!(matches!(refused, Err(ParseError::Version { found: 3 })));
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
