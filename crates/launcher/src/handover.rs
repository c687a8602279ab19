use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sendfd::SendWithFd;
use serde::Serialize;

/// What an agent is told of a container along with its listener: `ContainerProcessState` of the OCI runtime
/// specification (config-linux.md, "The Container Process State"), as runc fills it in at `create`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Handover {
    /// The container's name.
    pub id: String,
    /// Its process, [`Container::pid`](crate::Container::pid).
    pub pid: u32,
    /// Where it comes from.
    pub bundle: PathBuf,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `listenerMetadata` of its profile.
    pub metadata: String,
}

/// Why a listener could not be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// Nobody listens there.
    #[error("connecting to the agent at {path:?} failed: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The message did not go through.
    #[error("sending the listener to the agent failed: {0}")]
    Send(#[source] io::Error),
}

/// The version of the runtime specification that runc 1.1 names.
const OCI_VERSION: &str = "1.0.2-dev";

/// Connects to an agent. To be done before the container is launched, which has to wait for nobody then.
pub fn connect(socket: &Path) -> Result<UnixStream, HandoverError> {
    UnixStream::connect(socket).map_err(|source| HandoverError::Connect { path: socket.to_owned(), source })
}

impl Handover {
    /// Sends the listener to an agent, in one message.
    pub fn send(&self, agent: &UnixStream, listener: BorrowedFd<'_>) -> Result<(), HandoverError> {
        let message =
            serde_json::to_vec(&self.message()).map_err(|error| HandoverError::Send(error.into()))?;
        match agent.send_with_fd(&message, &[listener.as_raw_fd()]) {
            Ok(sent) if sent == message.len() => Ok(()),
            Ok(_) => Err(HandoverError::Send(io::ErrorKind::WriteZero.into())),
            Err(error) => Err(HandoverError::Send(error)),
        }
    }

    fn message(&self) -> Message<'_> {
        Message {
            oci_version: OCI_VERSION,
            fds: ["seccompFd"],
            pid: self.pid,
            metadata: &self.metadata,
            state: State {
                oci_version: OCI_VERSION,
                id: &self.id,
                status: "creating",
                pid: self.pid,
                bundle: &self.bundle,
                annotations: &self.annotations,
            },
        }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: State<'a>,
}

#[derive(Serialize)]
struct State<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    id: &'a str,
    status: &'static str,
    pid: u32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(handover: &Handover) -> String {
        serde_json::to_string(&handover.message()).unwrap()
    }

    #[test]
    fn the_message_is_runcs_to_the_letter() {
        let mut handover =
            Handover { id: "r1".into(), pid: 8608, bundle: "/b".into(), ..Handover::default() };
        assert_eq!(
            text(&handover),
            r#"{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":8608,"state":{"ociVersion":"1.0.2-dev","id":"r1","status":"creating","pid":8608,"bundle":"/b"}}"#
        );
        handover.metadata = "M".into();
        handover.annotations.insert("a".into(), "b".into());
        assert_eq!(
            text(&handover),
            r#"{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":8608,"metadata":"M","state":{"ociVersion":"1.0.2-dev","id":"r1","status":"creating","pid":8608,"bundle":"/b","annotations":{"a":"b"}}}"#
        );
    }
}
