//! What a runtime says of the container whose listener it hands over: `ContainerProcessState` of the OCI runtime
//! specification (config-linux.md, "The Container Process State").

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use seccomp_agent_registry::{Container, Status};
use serde::Deserialize;

/// The name that the listener has among the descriptors of a message.
const LISTENER_NAME: &str = "seccompFd";
/// The longest container id, in bytes: runtimes keep a container's state in a directory of that name (`NAME_MAX`),
/// and every log line and metric about the container has it.
pub const MAX_ID: usize = 255;
/// What an error says of a message, in characters: the log is not for copying messages.
const MAX_QUOTE: usize = 300;

/// A message, parsed: unknown fields are the future's business.
#[derive(Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// What the message's descriptors are, in their order.
    pub descriptors: Vec<String>,
    /// Whose listener it is.
    pub container: Container,
}

/// Why a message is no process state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is no JSON, or not of this shape.
    #[error("the container process state is malformed: {}", quote(.0))]
    Malformed(#[source] serde_json::Error),
    /// The container's id is longer than any runtime's.
    #[error("the container's id has {length} bytes, more than {MAX_ID}")]
    Id {
        /// How many it has.
        length: usize,
    },
    /// It names no listener, or two.
    #[error("the container process state names {found} descriptors \"seccompFd\" among {}, not one", quote(&format_args!("{names:?}")))]
    NoListener {
        /// How many it names.
        found: usize,
        /// What it names.
        names: Vec<String>,
    },
}

impl ProcessState {
    /// Parses one message.
    pub fn parse(message: &[u8]) -> Result<Self, StateError> {
        let wire: Wire = serde_json::from_slice(message).map_err(StateError::Malformed)?;
        let length = wire.state.id.len();
        if length > MAX_ID {
            return Err(StateError::Id { length });
        }
        let mut container = Container::named(wire.state.id);
        container.status = Status::from(wire.state.status.as_str());
        container.pid = wire.pid;
        container.init_pid = wire.state.pid;
        container.bundle = wire.state.bundle;
        container.annotations = wire.state.annotations.unwrap_or_default();
        container.metadata = wire.metadata.unwrap_or_default();
        Ok(Self { descriptors: wire.fds, container })
    }

    /// Which of the message's descriptors is the listener.
    pub fn listener_index(&self) -> Result<usize, StateError> {
        let found: Vec<_> =
            self.descriptors.iter().enumerate().filter(|(_, name)| *name == LISTENER_NAME).collect();
        match found[..] {
            [(index, _)] => Ok(index),
            _ => Err(StateError::NoListener { found: found.len(), names: self.descriptors.clone() }),
        }
    }
}

/// The beginning of what somebody else wrote.
fn quote(text: &impl Display) -> String {
    let mut text = text.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_QUOTE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    fds: Vec<String>,
    #[serde(default)]
    pid: u32,
    metadata: Option<String>,
    state: WireState,
}

#[derive(Deserialize)]
struct WireState {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    bundle: PathBuf,
    annotations: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As runc 1.1.5 sends it at `create`.
    const RUNC: &str = r#"{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":8608,"metadata":"MKDIR_TMPL=-x",
        "state":{"ociVersion":"1.0.2-dev","id":"r1","status":"creating","pid":8608,"bundle":"/b",
        "annotations":{"a":"b"}}}"#;

    /// As crun 1.8.1 sends it at `exec`.
    const CRUN_EXEC: &str = r#"{"ociVersion":"0.2.0","fds":["seccompFd"],"pid":0,"metadata":"",
        "state":{"ociVersion":"0.2.0","id":"c1","status":"running","pid":77,"bundle":"."}}"#;

    #[test]
    fn runcs_message_is_understood() {
        let state = ProcessState::parse(RUNC.as_bytes()).unwrap();
        assert_eq!(state.listener_index().unwrap(), 0);
        let container = state.container;
        assert_eq!((container.id.as_str(), container.pid, container.init_pid), ("r1", 8608, 8608));
        assert_eq!(container.status, Status::Creating);
        assert!(!container.is_exec());
        assert_eq!(container.metadata, "MKDIR_TMPL=-x");
        assert_eq!(container.annotations["a"], "b");
    }

    #[test]
    fn cruns_exec_without_a_pid_is_understood() {
        let container = ProcessState::parse(CRUN_EXEC.as_bytes()).unwrap().container;
        assert_eq!((container.pid, container.init_pid, container.is_exec()), (0, 77, true));
    }

    #[test]
    fn unknown_fields_and_statuses_are_kept_or_left() {
        let text = r#"{"fds":["seccompFd"],"new":1,"state":{"id":"x","status":"frozen","also":[]}}"#;
        let container = ProcessState::parse(text.as_bytes()).unwrap().container;
        assert_eq!(container.status, Status::Other("frozen".into()));
    }

    #[test]
    fn a_message_without_exactly_one_listener_is_refused() {
        for (fds, found) in [("[]", 0), (r#"["other"]"#, 0), (r#"["seccompFd","seccompFd"]"#, 2)] {
            let text = format!(r#"{{"fds":{fds},"state":{{"id":"x"}}}}"#);
            let error = ProcessState::parse(text.as_bytes()).unwrap().listener_index().unwrap_err();
            assert!(matches!(error, StateError::NoListener { found: n, .. } if n == found), "{error}");
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for text in
            [&b""[..], b"{}", b"[]", b"{\"state\":{\"id\":7}}", b"\xff\xfe", b"{\"state\":{\"id\":\"\xff\"}}"]
        {
            assert!(matches!(ProcessState::parse(text), Err(StateError::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn an_error_about_a_huge_message_is_short() {
        let huge = "\u{fc}".repeat(100_000);
        for text in [
            format!(r#"{{"pid":"{huge}","state":{{"id":"x"}}}}"#),
            format!(r#"{{"state":{{"id":"{huge}"}}}}"#),
            format!(r#"{{"fds":["{huge}"],"state":{{"id":"x"}}}}"#),
        ] {
            let error = ProcessState::parse(text.as_bytes())
                .and_then(|state| state.listener_index().map(|_| ()))
                .unwrap_err();
            assert!(error.to_string().len() < 4 * MAX_QUOTE, "{} bytes", error.to_string().len());
        }
    }

    #[test]
    fn nesting_is_no_way_to_exhaust_the_stack() {
        let deep = "[".repeat(400_000) + &"]".repeat(400_000);
        let ignored = format!(r#"{{"new":{deep},"state":{{"id":"x"}}}}"#);
        assert!(ProcessState::parse(ignored.as_bytes()).is_ok());
        for field in ["fds", "pid", "state", "metadata"] {
            let text = format!(r#"{{"{field}":{deep}}}"#);
            assert!(ProcessState::parse(text.as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn a_field_that_comes_twice_is_refused_and_of_an_annotation_the_last_one_holds() {
        let twice = r#"{"state":{"id":"x"},"state":{"id":"y"}}"#;
        assert!(ProcessState::parse(twice.as_bytes()).is_err());
        let annotation = r#"{"state":{"id":"x","annotations":{"a":"1","a":"2"}}}"#;
        assert_eq!(ProcessState::parse(annotation.as_bytes()).unwrap().container.annotations["a"], "2");
    }
}
