//! One connection hands over one listener.
//!
//! A runtime connects, sends one JSON object and the listener as `SCM_RIGHTS`, and may keep the connection open
//! for the container's life (runc) or say nothing for hours (crun, between create and start). So a silent
//! connection costs one descriptor and has no deadline; from its first byte on it has; and nothing is read after
//! the object's closing brace. All descriptors that came with a bad message are closed, which answers the
//! container's calls with ENOSYS instead of leaving them blocked.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use seccomp_agent_notify::{Listener, NotAListener};
use seccomp_agent_registry::Container;
use tokio::io::Interest;

use crate::state::{ProcessState, StateError};

/// The largest state. Kubernetes lets the annotations of a pod have 256 KiB; runtimes add little.
pub const MAX_STATE: usize = 1024 * 1024;
/// From the first byte of a message to its last.
pub const MESSAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Descriptors that a message may carry. The specification has one; it leaves room for more.
const MAX_DESCRIPTORS: usize = 8;
/// Descriptors that one `sendmsg(2)` can carry (`SCM_MAX_FD`). All are received, so that each is closed by us.
const SCM_MAX_FD: usize = 253;
/// What is read at a time: most states fit, and a larger one takes a few turns.
const CHUNK: usize = 8 * 1024;
/// The stack of a thread that only closes descriptors.
const CLOSING_STACK: usize = 64 * 1024;

/// Why a connection did not hand over a listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer runs as another user than root and than the agent.
    #[error("the peer runs as user {uid}; only root and the agent's own user may hand over containers")]
    Peer {
        /// Its user id.
        uid: u32,
    },
    /// It closed the connection before its message was complete.
    #[error("the peer closed the connection after {received} bytes of an unfinished message")]
    Closed {
        /// How much had come.
        received: usize,
    },
    /// Its message was not complete in time.
    #[error("the message was not complete {MESSAGE_DEADLINE:?} after its first byte")]
    TimedOut,
    /// Its message is too large.
    #[error("the message has more than {MAX_STATE} bytes")]
    TooLarge,
    /// It was given up to make room for others.
    #[error("given up to make room: it had said nothing for longest")]
    Evicted,
    /// Reading from the connection failed.
    #[error("reading from the connection failed: {0}")]
    Read(#[source] std::io::Error),
    /// What it sent is no JSON object.
    #[error("the message is no JSON object: it begins with byte {0:#04x}")]
    NotAnObject(u8),
    /// It is an object, but no process state with a listener.
    #[error(transparent)]
    State(#[from] StateError),
    /// The descriptors are not those that the state names.
    #[error("the message carries {received} descriptors and names {named}")]
    Descriptors {
        /// How many came.
        received: usize,
        /// How many the state names.
        named: usize,
    },
    /// Its descriptors could not be taken.
    #[error("the message's descriptors were lost: the agent has as many open as it may")]
    Exhausted,
    /// The descriptor called `seccompFd` is something else.
    #[error(transparent)]
    NotAListener(#[from] NotAListener),
}

impl HandshakeError {
    /// The word for it in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Peer { .. } => "peer",
            Self::Closed { .. } => "closed",
            Self::TimedOut => "timeout",
            Self::TooLarge => "too_large",
            Self::Evicted => "evicted",
            Self::Read(_) => "read",
            Self::State(StateError::NoListener { .. }) => "no_listener_named",
            Self::NotAnObject(_) | Self::State(_) => "malformed",
            Self::Descriptors { .. } => "descriptors",
            Self::Exhausted => "exhausted",
            Self::NotAListener(_) => "not_a_listener",
        }
    }
}

/// A message on its way in, over a connection that tokio need not watch unless it has to be waited for.
pub(crate) struct Handshake<S> {
    stream: S,
    message: Message,
}

/// What a complete message is.
pub(crate) type HandedOver = (Listener, Container);

impl Handshake<UnixStream> {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, message: Message::default() }
    }

    /// Reads what has come already, as most of a runtime's message has: what is handed over, if that was all.
    pub(crate) fn read_at_once(&mut self) -> Result<Option<HandedOver>, HandshakeError> {
        match self.message.read(&self.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map_err(HandshakeError::Read)?,
        }
    }

    pub(crate) fn watch(self) -> Result<Handshake<tokio::net::UnixStream>, HandshakeError> {
        let stream = tokio::net::UnixStream::from_std(self.stream).map_err(HandshakeError::Read)?;
        Ok(Handshake { stream, message: self.message })
    }
}

impl Handshake<tokio::net::UnixStream> {
    /// Waits, for ever, until something has come, and reads it: what is handed over, if that was all.
    pub(crate) async fn begin(&mut self) -> Result<Option<HandedOver>, HandshakeError> {
        if self.message.is_empty() { self.read().await } else { Ok(None) }
    }

    /// Reads on until the message is complete.
    pub(crate) async fn complete(&mut self) -> Result<HandedOver, HandshakeError> {
        let reading = async {
            loop {
                if let Some(handed_over) = self.read().await? {
                    return Ok(handed_over);
                }
            }
        };
        tokio::time::timeout(MESSAGE_DEADLINE, reading).await.map_err(|_elapsed| HandshakeError::TimedOut)?
    }

    async fn read(&mut self) -> Result<Option<HandedOver>, HandshakeError> {
        let Self { stream, message } = self;
        let read = stream.async_io(Interest::READABLE, || message.read(&*stream));
        read.await.map_err(HandshakeError::Read)?
    }
}

impl<S: AsFd + Send + 'static> Handshake<S> {
    /// Closes the connection and what has come with it. Such a descriptor can be anything, and closing some
    /// takes as long as somebody else likes (a TCP socket that lingers, a file on FUSE), so a thread does it.
    pub(crate) async fn close(self) {
        let unread = rustix::io::ioctl_fionread(&self.stream).unwrap_or(1);
        if self.message.descriptors.is_empty() && unread == 0 {
            return;
        }
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        // The channel's end goes last.
        let everything = (self, end);
        let closing = std::thread::Builder::new().name("handshake-close".into()).stack_size(CLOSING_STACK);
        // Without a thread it is all closed here and now.
        if closing.spawn(move || drop(everything)).is_ok() {
            let _closed = ended.await;
        }
    }
}

#[derive(Default)]
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    end: ObjectEnd,
}

impl Message {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.descriptors.is_empty()
    }

    /// One `recvmsg(2)`, which can fail by itself, without waiting. What came besides the bytes is kept.
    fn read(&mut self, stream: impl AsFd) -> io::Result<Result<Option<HandedOver>, HandshakeError>> {
        let mut chunk = [0; CHUNK];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut chunk)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let outcome = recvmsg(stream, &mut parts, &mut control, flags)?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                self.descriptors.extend(descriptors);
            }
        }
        Ok(self.take(&chunk[..outcome.bytes], outcome.flags))
    }

    /// Adds what was read.
    fn take(&mut self, bytes: &[u8], flags: ReturnFlags) -> Result<Option<HandedOver>, HandshakeError> {
        if flags.contains(ReturnFlags::CTRUNC) {
            return Err(HandshakeError::Exhausted);
        }
        if self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(HandshakeError::Descriptors { received: self.descriptors.len(), named: 1 });
        }
        if bytes.is_empty() {
            return Err(HandshakeError::Closed { received: self.text.len() });
        }
        if self.append(bytes)? { self.hand_over().map(Some) } else { Ok(None) }
    }

    /// Adds bytes: true once the object is complete.
    fn append(&mut self, bytes: &[u8]) -> Result<bool, HandshakeError> {
        let end = self.end.find(bytes)?;
        self.text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.text.len() > MAX_STATE {
            return Err(HandshakeError::TooLarge);
        }
        Ok(end.is_some())
    }

    fn hand_over(&mut self) -> Result<HandedOver, HandshakeError> {
        let state = ProcessState::parse(&self.text)?;
        let index = state.listener_index()?;
        let (received, named) = (self.descriptors.len(), state.descriptors.len());
        if received != named {
            return Err(HandshakeError::Descriptors { received, named });
        }
        match Listener::new(self.descriptors.swap_remove(index)) {
            Ok(listener) => Ok((listener, state.container)),
            Err((descriptor, error)) => {
                // It is closed with the others.
                self.descriptors.push(descriptor);
                Err(error.into())
            }
        }
    }
}

/// Finds the closing brace of a JSON object that arrives in pieces. One look at each byte, whatever the pieces.
#[derive(Debug, Default)]
struct ObjectEnd {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl ObjectEnd {
    /// How many of `bytes` belong to the object, once it is complete.
    fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
        for (at, byte) in bytes.iter().enumerate() {
            match (byte, self.in_string) {
                _ if self.escaped => self.escaped = false,
                (b'\\', true) => self.escaped = true,
                (b'"', string) if self.depth > 0 => self.in_string = !string,
                (b'{' | b'[', false) if self.depth > 0 || *byte == b'{' => self.depth += 1,
                (b'}' | b']', false) if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(at + 1));
                    }
                }
                (other, false) if self.depth == 0 && !other.is_ascii_whitespace() => {
                    return Err(HandshakeError::NotAnObject(*other));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str, piece: usize) -> Option<usize> {
        let mut end = ObjectEnd::default();
        let mut before = 0;
        for bytes in text.as_bytes().chunks(piece) {
            if let Some(at) = end.find(bytes).unwrap() {
                return Some(before + at);
            }
            before += bytes.len();
        }
        None
    }

    #[test]
    fn the_end_of_an_object_is_found_however_it_is_split() {
        for (text, end) in [
            (r"{}", Some(2)),
            (r" {} {}", Some(3)),
            (r#"{"a":"}"}x"#, Some(9)),
            (r#"{"a":"\"}"}"#, Some(11)),
            (r#"{"a":[{"b":"\\"}]}"#, Some(18)),
            (r#"{"a":{"#, None),
            (r#"{"a":"}}}}"#, None),
        ] {
            for piece in 1..=text.len() {
                assert_eq!(end_of(text, piece), end, "{text} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused_at_its_first_byte() {
        for text in ["x{}", "[{}]", "\"{}\"", "}"] {
            assert!(matches!(
                ObjectEnd::default().find(text.as_bytes()),
                Err(HandshakeError::NotAnObject(_))
            ));
        }
    }

    #[test]
    fn an_endless_message_is_refused_at_the_limit() {
        let mut message = Message::default();
        assert!(!message.append(b"{\"a\":\"").unwrap());
        let mut outcome = Ok(false);
        for _ in 0..=MAX_STATE / CHUNK {
            outcome = message.append(&vec![b'}'; CHUNK]);
        }
        assert!(matches!(outcome, Err(HandshakeError::TooLarge)));
    }
}
