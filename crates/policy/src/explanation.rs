use std::fmt;

use serde::Serialize;

use seccomp_agent_registry::Container;

use crate::request::{Outcome, Request};

/// Which rule a container gets, which handlers, and why. Shown to people by `Display`, to machines by serde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The container's id.
    pub container: String,
    /// What it is called in its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its pod, as `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The rule that is for it.
    pub rule: Option<String>,
    /// The rules that were looked at, in their order.
    pub tried: Vec<Tried>,
    /// What it gets.
    pub handlers: Vec<Granted>,
    /// What is recorded of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<Kept>,
    /// What it asks for.
    pub requests: Vec<Request>,
    /// What becomes of all other notified calls.
    pub otherwise: Decided,
}

/// A rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tried {
    /// Its name.
    pub rule: String,
    /// Why it is not for the container; nothing if it is.
    pub mismatch: Option<String>,
}

/// A handler that a container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Granted {
    /// What the policy calls it.
    pub handler: &'static str,
    /// The calls that it answers; none for the one that answers all others.
    pub calls: Vec<&'static str>,
    /// What it is told.
    pub parameters: String,
    /// Why it is there: `rule`, or the request that asked for it.
    pub by: String,
}

/// A recording that a container is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// The recording.
    pub name: String,
    /// What is recorded.
    pub how: &'static str,
    /// Why: `rule`, or the request that asked for it.
    pub by: String,
}

/// What becomes of calls that have no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Decided {
    /// The kernel runs them.
    Continue,
    /// They fail with EPERM.
    Refuse,
    /// The handler `otherwise` answers them.
    Answered,
}

impl Explanation {
    /// Of a container that no rule is for, that gets nothing and asks for nothing.
    pub(crate) fn of(container: &Container, tried: Vec<Tried>, otherwise: Decided) -> Self {
        let pod = match container.pod_names() {
            (Some(namespace), Some(pod)) => Some(format!("{namespace}/{pod}")),
            _ => None,
        };
        Self {
            container: container.id.clone(),
            name: container.name().map(str::to_owned),
            pod,
            rule: None,
            tried,
            handlers: vec![],
            recordings: vec![],
            requests: vec![],
            otherwise,
        }
    }

    /// The requests that came to nothing.
    pub fn refused(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.outcome != Outcome::Honoured)
    }
}

/// A value that fits a line; the rest of a longer one is left out.
const SHOWN: usize = 80;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container  {}", Shown(&self.container))?;
        match (&self.name, &self.pod) {
            (Some(name), Some(pod)) => writeln!(f, ", {} of {}", Shown(name), Shown(pod))?,
            (Some(name), None) => writeln!(f, ", {}", Shown(name))?,
            (None, Some(pod)) => writeln!(f, ", of {}", Shown(pod))?,
            (None, None) => writeln!(f)?,
        }
        writeln!(f, "rule       {}", self.rule.as_deref().unwrap_or("none"))?;
        for tried in &self.tried {
            match &tried.mismatch {
                Some(reason) => writeln!(f, "  {}: no, {}", tried.rule, Shown(reason))?,
                None => writeln!(f, "  {}: yes", tried.rule)?,
            }
        }
        writeln!(f, "handlers{}", if self.handlers.is_empty() { "   none" } else { "" })?;
        for granted in &self.handlers {
            writeln!(f, "  {}: {} (by {})", granted.handler, granted.parameters, granted.by)?;
            let calls = if granted.calls.is_empty() { "all others".into() } else { granted.calls.join(", ") };
            writeln!(f, "    answers {calls}")?;
        }
        if !self.recordings.is_empty() {
            writeln!(f, "recordings")?;
        }
        for Kept { name, how, by } in &self.recordings {
            writeln!(f, "  {}: {how} (by {})", Shown(name), Shown(by))?;
        }
        if !self.requests.is_empty() {
            writeln!(f, "asked for")?;
        }
        for Request { source, key, value, outcome } in &self.requests {
            match outcome {
                Outcome::NoRequest => writeln!(f, "  {source} {}: {outcome}", Shown(key))?,
                _ => writeln!(f, "  {source} {}={}: {outcome}", Shown(key), Shown(value))?,
            }
        }
        match self.otherwise {
            Decided::Continue => write!(f, "otherwise  notified calls continue"),
            Decided::Refuse => write!(f, "otherwise  notified calls fail with EPERM"),
            Decided::Answered => write!(f, "otherwise  notified calls are answered by otherwise"),
        }
    }
}

/// Text of somebody else's, without control characters, which a terminal would obey.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN) {
            if character.is_control() { f.write_str("\u{fffd}")? } else { write!(f, "{character}")? }
        }
        if characters.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}
