//! Telling a connection that has said nothing from one that has.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Waits until `stream` has something to read, or has been closed by its peer; for ever if need be.
///
/// `UnixStream::readable` may return at once for a connection that has just been accepted: it promises no more
/// than that trying is worth while. A deadline that runs from the first byte needs to know, so the kernel is
/// asked.
pub(crate) async fn broken(stream: &UnixStream) -> io::Result<()> {
    stream
        .async_io(Interest::READABLE, || {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&now))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use tokio::net::UnixListener;

    use super::*;

    const A_WHILE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_connection_is_silent_until_its_first_byte_or_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        for speaks in [true, false] {
            let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            assert!(tokio::time::timeout(A_WHILE, broken(&stream)).await.is_err());
            if speaks {
                peer.write_all(b"{").unwrap();
            } else {
                drop(peer);
            }
            broken(&stream).await.unwrap();
        }
    }
}
