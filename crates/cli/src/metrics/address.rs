use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serde::Deserialize;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Where to listen: `HOST:PORT` with the host as a number, or `:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Address {
    /// On one address of this machine, or on all of its version.
    At(SocketAddr),
    /// On all addresses of this machine: of IPv6 and IPv4, or of IPv4 where there is no IPv6.
    Everywhere {
        /// The port; 0 for any.
        port: u16,
    },
}

/// Why a text is no [`Address`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address, such as 127.0.0.1:9464, [::1]:9464, or :9464 for all of this machine")]
pub(crate) struct NoAddress(String);

impl Address {
    /// A socket that listens there and does not block.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        let listener = match self {
            Self::At(address) => TcpListener::bind(address)?,
            Self::Everywhere { port } => match of_both(port) {
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => TcpListener::bind(("0.0.0.0", port))?,
                bound => bound?,
            },
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

/// One that has IPv4 as well, whatever `net.ipv6.bindv6only` says.
fn of_both(port: u16) -> Result<TcpListener, Errno> {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let port = text.strip_prefix(':').map(str::parse);
        let address = match port {
            Some(port) => port.ok().map(|port| Self::Everywhere { port }),
            None => text.parse().ok().map(Self::At),
        };
        address.ok_or_else(|| NoAddress(text.to_owned()))
    }
}

impl TryFrom<String> for Address {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Everywhere { port } => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_host_may_be_left_out() {
        for (text, expected) in [
            (":9464", Some(Address::Everywhere { port: 9464 })),
            ("127.0.0.1:9464", Some(Address::At(([127, 0, 0, 1], 9464).into()))),
            ("[::1]:9464", Some(Address::At((Ipv6Addr::LOCALHOST, 9464).into()))),
            ("9464", None),
            (":", None),
            (":65536", None),
            ("::1:9464x", None),
            ("name:9464", None),
            ("", None),
        ] {
            let address = text.parse::<Address>();
            assert_eq!(address.as_ref().ok().copied(), expected, "{text}");
            assert_eq!(address.map(|address| address.to_string()).ok(), expected.map(|_| text.to_owned()));
        }
    }

    #[test]
    fn without_a_host_it_is_found_at_each_address() {
        let listener = Address::Everywhere { port: 0 }.listen().unwrap();
        let bound = listener.local_addr().unwrap();
        TcpStream::connect(("127.0.0.1", bound.port())).unwrap();
        if bound.is_ipv6() && TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", bound.port())).unwrap();
        }
    }

    #[test]
    fn a_port_that_is_taken_is_not_taken_by_the_other_version() {
        let taken = Address::Everywhere { port: 0 }.listen().unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Address::Everywhere { port }.listen().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
