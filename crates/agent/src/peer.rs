use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};

use crate::handshake::HandshakeError;

/// The longest name of a program that is looked at: `PATH_MAX` of `limits.h`.
const MAX_PROGRAM: u64 = 4096;

/// Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`, unix(7)).
pub(crate) struct Peer(UnixCredentials);

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> Result<Self, HandshakeError> {
        getsockopt(stream, PeerCredentials).map(Self).map_err(|errno| HandshakeError::Read(errno.into()))
    }

    /// The socket's mode keeps others out; this keeps them out where somebody has changed it.
    pub(crate) fn check(&self) -> Result<(), HandshakeError> {
        let uid = self.0.uid();
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            Ok(())
        } else {
            Err(HandshakeError::Peer { uid })
        }
    }

    /// The name of its program, as it calls itself, without the directory. It has to be asked early: crun is gone
    /// by the time its message arrives. `None` if the peer is gone, or not visible in our pid namespace.
    pub(crate) fn program(&self) -> Option<String> {
        let pid = Some(self.0.pid()).filter(|pid| *pid > 0)?;
        let mut command = Vec::new();
        // Not `exe` or `comm`: runtimes that run from a sealed copy of themselves have neither.
        File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MAX_PROGRAM).read_to_end(&mut command).ok()?;
        let program = command.split(|byte| *byte == 0).next()?;
        Some(Path::new(std::str::from_utf8(program).ok()?).file_name()?.to_str()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_its_program() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = std::env::args().next().unwrap();
        let program = Peer::of(&ours).unwrap().program();
        assert_eq!(program.as_deref(), Path::new(&own).file_name().unwrap().to_str());
    }
}
