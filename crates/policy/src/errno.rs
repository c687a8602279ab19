use seccomp_agent_registry::Errno;

use crate::near::hint;

/// An error, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String", extend("pattern" = "^E[A-Z0-9]+$")))]
#[serde(try_from = "String")]
pub(crate) struct ErrnoName(pub(crate) Errno);

macro_rules! errnos {
    ($($name:ident),* $(,)?) => {
        /// Those whose constant is called as the error is; see `errno(3)`.
        const NAMED: &[(&str, Errno)] = &[$((concat!("E", stringify!($name)), Errno::$name)),*];
    };
}

errnos!(
    ADDRINUSE,
    ADDRNOTAVAIL,
    AFNOSUPPORT,
    AGAIN,
    ALREADY,
    BADF,
    BADFD,
    BADMSG,
    BUSY,
    CANCELED,
    CHILD,
    CONNABORTED,
    CONNREFUSED,
    CONNRESET,
    DEADLK,
    DESTADDRREQ,
    DOM,
    DQUOT,
    EXIST,
    FAULT,
    FBIG,
    HOSTDOWN,
    HOSTUNREACH,
    IDRM,
    ILSEQ,
    INPROGRESS,
    INTR,
    INVAL,
    IO,
    ISCONN,
    ISDIR,
    KEYEXPIRED,
    KEYREJECTED,
    KEYREVOKED,
    LOOP,
    MEDIUMTYPE,
    MFILE,
    MLINK,
    MSGSIZE,
    NAMETOOLONG,
    NETDOWN,
    NETRESET,
    NETUNREACH,
    NFILE,
    NOBUFS,
    NODATA,
    NODEV,
    NOENT,
    NOEXEC,
    NOKEY,
    NOLCK,
    NOLINK,
    NOMEDIUM,
    NOMEM,
    NOMSG,
    NOPROTOOPT,
    NOSPC,
    NOSYS,
    NOTBLK,
    NOTCONN,
    NOTDIR,
    NOTEMPTY,
    NOTRECOVERABLE,
    NOTSOCK,
    NOTTY,
    NXIO,
    OPNOTSUPP,
    OVERFLOW,
    OWNERDEAD,
    PERM,
    PFNOSUPPORT,
    PIPE,
    PROTO,
    PROTONOSUPPORT,
    PROTOTYPE,
    RANGE,
    ROFS,
    SHUTDOWN,
    SOCKTNOSUPPORT,
    SPIPE,
    SRCH,
    STALE,
    TIME,
    TIMEDOUT,
    TXTBSY,
    USERS,
    XDEV,
);

/// Those whose constant is called otherwise.
const RENAMED: &[(&str, Errno)] = &[
    ("E2BIG", Errno::TOOBIG),
    ("EACCES", Errno::ACCESS),
    ("ENOTSUP", Errno::OPNOTSUPP),
    ("EWOULDBLOCK", Errno::AGAIN),
];

impl ErrnoName {
    pub(crate) fn name(self) -> &'static str {
        all().find(|(_, errno)| *errno == self.0).map_or("", |(name, _)| name)
    }
}

impl TryFrom<String> for ErrnoName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = all().find(|(known, _)| *known == name).map(|(_, errno)| Self(*errno));
        let names = all().map(|(known, _)| *known);
        found.ok_or_else(|| match hint(&name, names) {
            hint if hint.is_empty() => {
                format!("unknown error name {name:?}; they are those of errno(3), such as EPERM")
            }
            hint => format!("unknown error name {name:?}{hint}"),
        })
    }
}

fn all() -> impl Iterator<Item = &'static (&'static str, Errno)> {
    NAMED.iter().chain(RENAMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        for (name, number) in [("EPERM", 1), ("E2BIG", 7), ("EACCES", 13), ("EBADMSG", 74), ("ENOTSUP", 95)] {
            assert_eq!(ErrnoName::try_from(name.to_owned()).unwrap().0.raw_os_error(), number, "{name}");
        }
        let message = ErrnoName::try_from("EPREM".to_owned()).unwrap_err();
        assert_eq!(message, r#"unknown error name "EPREM"; did you mean "EPERM"?"#);
    }
}
