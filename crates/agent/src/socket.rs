use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::net::{accept_with, bind, connect, listen, socket_with};
use tokio::io::Interest;

/// The socket that runtimes connect to.
///
/// One that was bound here is removed when dropped, unless somebody else's is in its place by then.
#[derive(Debug)]
pub struct Socket {
    fd: Option<OwnedFd>,
    bound: Option<Bound>,
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The path is too long for a socket address, or has a NUL in it.
    #[error("{path:?} cannot be a socket address (at most 107 bytes, no NUL)")]
    Address {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("another process is listening on {path:?}; stop it, or choose another path")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// What is there is not ours to remove.
    #[error("{path:?} is {what}, not a socket; it is left alone: remove it, or choose another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// One step failed.
    #[error("{step} {path:?} failed: {source}")]
    Step {
        /// Which.
        step: &'static str,
        /// The path.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The descriptor that was passed in is no listening unix stream socket.
    #[error("the descriptor passed in is not a listening unix stream socket")]
    Inherited,
}

/// The listening end. To tokio it is just a socket: its own listener would watch each connection as it is
/// accepted, though most have said everything by then.
pub(crate) struct SocketListener(tokio::net::UnixStream);

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: (u64, u64),
}

/// Connections that may wait to be accepted: a node that starts all its pods at once.
const BACKLOG: i32 = 4096;

impl Socket {
    /// Listens on `path`, which only the owner may connect to. A socket that a dead process left there is
    /// replaced; anything else there is an error.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, SocketError> {
        let path = path.as_ref();
        let step = |step: &'static str| {
            move |errno: Errno| SocketError::Step { step, path: path.to_owned(), source: errno.into() }
        };
        let address =
            SocketAddrUnix::new(path).map_err(|_| SocketError::Address { path: path.to_owned() })?;
        remove_stale(path, &address)?;
        let fd = stream_socket().map_err(step("creating a socket for"))?;
        // The mode of the file that bind makes is the socket's own: there is no moment at which others may connect.
        fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(step("setting the mode of"))?;
        bind(&fd, &address).map_err(step("binding"))?;
        listen(&fd, BACKLOG).map_err(step("listening on"))?;
        let metadata = std::fs::symlink_metadata(path).map_err(|source| SocketError::Step {
            step: "looking at",
            path: path.to_owned(),
            source,
        })?;
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { fd: Some(fd), bound: Some(Bound { path: path.to_owned(), inode }) })
    }

    /// Listens on a descriptor that was passed in, as by systemd.
    pub fn inherited(fd: OwnedFd) -> Result<Self, SocketError> {
        let is_listening = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX)
            && sockopt::socket_type(&fd) == Ok(SocketType::STREAM)
            && sockopt::socket_acceptconn(&fd) == Ok(true);
        if !is_listening {
            return Err(SocketError::Inherited);
        }
        Ok(Self { fd: Some(fd), bound: None })
    }

    /// Gives the descriptor to tokio. The file is removed when `self` is dropped.
    pub(crate) fn listener(&mut self) -> io::Result<SocketListener> {
        let fd = self.fd.take().ok_or_else(|| io::Error::other("the socket is being served already"))?;
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(socket).map(SocketListener)
    }
}

impl SocketListener {
    /// Accepts a connection, which does not block.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = self.0.async_io(Interest::READABLE, || Ok(accept_with(&self.0, flags)?)).await;
        accepted.map(UnixStream::from)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(Bound { path, inode }) = &self.bound else { return };
        let ours = std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == *inode);
        if ours && let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "the socket could not be removed");
        }
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Removes a socket that nobody listens on. Nothing but a socket is ever removed.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let failed = |step| move |source| SocketError::Step { step, path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at")(error)),
    };
    if !kind.is_socket() {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_file() {
            "a regular file"
        } else if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_fifo() {
            "a fifo"
        } else {
            "a device"
        };
        return Err(SocketError::NotASocket { path: path.to_owned(), what });
    }
    let probe = stream_socket().map_err(|errno| failed("creating a socket for")(errno.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {}
        // A socket of another type, or one with a full backlog: somebody has it open.
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => {
            return Err(SocketError::InUse { path: path.to_owned() });
        }
        Err(errno) => return Err(failed("connecting to")(errno.into())),
    }
    std::fs::remove_file(path).map_err(failed("removing the stale socket"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_may_connect_and_the_file_goes_with_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let _live = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse { .. })));
    }

    #[test]
    fn what_is_no_socket_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        std::fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (path, expected) in
            [(dir.path(), "a directory"), (&file, "a regular file"), (&link, "a symbolic link")]
        {
            let Err(SocketError::NotASocket { what, .. }) = Socket::bind(path) else { panic!("{path:?}") };
            assert_eq!(what, expected);
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
    }

    #[test]
    fn somebody_elses_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = Socket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        assert!(matches!(
            Socket::bind("/tmp/".to_owned() + &"x".repeat(110)),
            Err(SocketError::Address { .. })
        ));
    }
}
