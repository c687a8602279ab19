use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;

/// What is known of one call of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// How often it was notified. A call that a signal interrupted may have been notified again.
    pub count: u64,
    /// How many of these were a runtime's, before it started the program.
    pub starting: u64,
    /// In how many of the runs it was seen.
    pub runs: u64,
    /// When first, in seconds since 1970.
    pub first: u64,
    /// When last, in seconds since 1970.
    pub last: u64,
    /// Of its arguments, if it is a call where a rule on them pays.
    pub arguments: Option<Arguments>,
    /// What kinds of processes made it, as far as it is known.
    pub by: BTreeSet<Origin>,
    /// Who made it first, of those that are known.
    pub caller: Option<FirstCaller>,
}

/// How a process came into a container. Those that it starts are of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The container was started with it.
    Start,
    /// It was added while the container ran (`exec`).
    Exec,
    /// It was added too, and all of it had ended 5 seconds later, as with health checks. What somebody starts by hand
    /// and ends as soon cannot be told from these: runtimes do not say who asked.
    Probe,
}

/// A process that made a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FirstCaller {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The name of the thread (`/proc/TID/comm`), which it chooses itself.
    pub comm: String,
    /// The program (`/proc/TID/exe`), as the container calls it; its end, if it is long; empty where it cannot be told.
    pub exe: String,
}

/// `TASK_COMM_LEN` of the kernel's `include/linux/sched.h`, without the null byte, each byte as what stands for
/// something unprintable.
pub(crate) const MAX_COMM: usize = 15 * 3;

/// Bytes of a program's path that are kept.
pub(crate) const MAX_EXE: usize = 128;

impl Seen {
    /// What is known of the same call in another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.starting = self.starting.saturating_add(other.starting);
        self.runs = self.runs.saturating_add(other.runs);
        self.widen(other);
    }

    /// What is known of the same call in the same runs at another time: neither says less than there was.
    pub(crate) fn join(&mut self, other: &Self) {
        self.count = self.count.max(other.count);
        self.starting = self.starting.max(other.starting);
        self.runs = self.runs.max(other.runs);
        self.widen(other);
    }

    fn widen(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.arguments = Arguments::merged(self.arguments.as_ref(), other.arguments.as_ref());
        self.by.extend(&other.by);
        self.caller = [&self.caller, &other.caller].into_iter().flatten().min().cloned();
    }
}

impl FirstCaller {
    /// Bounded, and without what a terminal would obey.
    pub(crate) fn new(at: u64, comm: &[u8], exe: &[u8]) -> Self {
        Self { at, comm: tail(&printable(comm), MAX_COMM), exe: tail(&printable(exe), MAX_EXE) }
    }

    /// Whether this is as [`new`](Self::new) makes it.
    pub(crate) fn is_sound(&self) -> bool {
        *self == Self::new(self.at, self.comm.as_bytes(), self.exe.as_bytes())
    }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|each| if is_obeyed(each) { char::REPLACEMENT_CHARACTER } else { each }).collect()
}

/// Whether a terminal does something else with it than show it: control characters, and those of Unicode that break
/// lines, turn the direction of text or are not to be seen, so that a name looks like another one.
pub(crate) fn is_obeyed(each: char) -> bool {
    each.is_control()
        || matches!(
            each,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn tail(text: &str, most: usize) -> String {
    let from = text.len().saturating_sub(most);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[from..].to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A call that was made once.
    pub(crate) fn once() -> Seen {
        let by = BTreeSet::new();
        Seen { count: 1, starting: 0, runs: 1, first: 5, last: 6, arguments: None, by, caller: None }
    }

    #[test]
    fn a_callers_names_are_bounded_and_obeyed_by_no_terminal() {
        let caller = FirstCaller::new(5, b"\x1b[2J\xff", b"/usr/bin/true");
        assert_eq!((caller.comm.as_str(), caller.exe.as_str()), ("\u{fffd}[2J\u{fffd}", "/usr/bin/true"));
        let turned = FirstCaller::new(5, "a\u{202e}b\u{2066}".as_bytes(), "/c\u{200b}d".as_bytes());
        assert_eq!((turned.comm.as_str(), turned.exe.as_str()), ("a\u{fffd}b\u{fffd}", "/c\u{fffd}d"));
        for text in ["é".repeat(300), "a".repeat(300), String::new()] {
            let caller = FirstCaller::new(5, text.as_bytes(), text.as_bytes());
            assert!(caller.comm.len() <= MAX_COMM && caller.exe.len() <= MAX_EXE && caller.is_sound());
            assert!(text.ends_with(&caller.exe));
        }
    }
}
