use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::mount::{
    fsconfig_create, fsconfig_create_exclusive, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string,
};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::table::Table;
use super::{caller, descriptor, hand_in, too_long_is_invalid};
use crate::emulate::Failure;
use crate::mount::OPTIONS;

/// The longest name of a file system, the NUL included: a page.
const MAX_KIND: usize = 4096;

/// The longest key and the longest value of an option, the NUL included (`fsconfig(2)`).
const MAX_OPTION: usize = 256;

/// `FSOPEN_CLOEXEC`, the only flag there is.
const CLOEXEC: u64 = 1;

/// Options without a value, which every file system takes: of the superblock, none other's.
const FLAGS: [&[u8]; 9] =
    [b"ro", b"rw", b"sync", b"async", b"dirsync", b"lazytime", b"nolazytime", b"mand", b"nomand"];

/// What `fsconfig` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Flag(CString),
    Text(CString, CString),
    Create,
    CreateExclusively,
    Reconfigure,
}

/// `fsopen(2)`.
pub(super) fn open(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let kind = call.memory().c_string(call.arg(0), MAX_KIND).map_err(too_long_is_invalid)?;
    if kind.as_c_str() != c"proc" {
        return Ok(Verdict::Continue);
    }
    let Some(caller) = caller(call)? else { return Ok(Verdict::Continue) };
    call.note(|noted| {
        noted.asks(format_args!("type=proc")).because("listed");
    });
    let flags = u64::from(call.int_arg(1).cast_unsigned());
    if flags & !CLOEXEC != 0 {
        return Err(Errno::INVAL.into());
    }
    let pids = caller.pid_namespace()?;
    let by_option = call.features().proc_pidns;
    let context = caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |scene| scene.open_procfs(&pids, by_option),
    )?;
    let handle = table.insert_context(context)?;
    hand_in(call, handle.as_fd(), flags & CLOEXEC != 0)
}

/// `fsconfig(2)`.
pub(super) fn configure(call: &Call<'_>, table: &Table) -> Result<Verdict, Failure> {
    let Some(caller) = caller(call)? else { return Ok(Verdict::Continue) };
    let handle = descriptor(&caller, call.int_arg(0));
    let Some(context) = handle.and_then(|handle| table.context(handle)) else {
        return Ok(Verdict::Continue);
    };
    call.note(|noted| {
        noted.asks(format_args!("type=proc")).because("listed");
    });
    let command = Command::read(call)?;
    call.note(|noted| {
        match &command {
            Command::Flag(key) => noted.asks(format_args!("flag={key:?}")),
            Command::Text(key, value) => noted.asks(format_args!("key={key:?} value={value:?}")),
            command => noted.asks(format_args!("command={command:?}")),
        };
    });
    command.check()?;
    let grant = if command.makes() { Capabilities::SYS_ADMIN } else { Capabilities::empty() };
    let context = context.file.as_fd();
    caller.act(
        || call.is_valid(),
        grant,
        |_| match &command {
            Command::Flag(key) => fsconfig_set_flag(context, key.as_c_str()),
            Command::Text(key, value) => fsconfig_set_string(context, key.as_c_str(), value.as_c_str()),
            Command::Create => fsconfig_create(context),
            Command::CreateExclusively => fsconfig_create_exclusive(context),
            Command::Reconfigure => fsconfig_reconfigure(context),
        },
    )?;
    Ok(Verdict::Return(0))
}

impl Command {
    /// In the order in which the kernel looks.
    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let (key, value, aux) = (call.arg(2), call.arg(3), call.int_arg(4));
        let text = |address| call.memory().c_string(address, MAX_OPTION).map_err(too_long_is_invalid);
        let valid = |is_valid: bool| if is_valid { Ok(()) } else { Err(Errno::INVAL) };
        let bare = key == 0 && value == 0 && aux == 0;
        match call.int_arg(1) {
            0 => {
                valid(key != 0 && value == 0 && aux == 0)?;
                Ok(Self::Flag(text(key)?))
            }
            1 => {
                valid(key != 0 && value != 0 && aux == 0)?;
                Ok(Self::Text(text(key)?, text(value)?))
            }
            // Binary values, paths and descriptors: nothing that procfs may be told here is one.
            2..=5 => Err(Errno::INVAL.into()),
            6 => valid(bare).map(|()| Self::Create).map_err(Failure::from),
            7 => valid(bare).map(|()| Self::Reconfigure).map_err(Failure::from),
            8 => valid(bare).map(|()| Self::CreateExclusively).map_err(Failure::from),
            _ => Err(Errno::OPNOTSUPP.into()),
        }
    }

    /// EINVAL for an option that procfs does not know or may not be told.
    fn check(&self) -> Result<(), Errno> {
        let is_known = match self {
            Self::Flag(key) => FLAGS.contains(&key.to_bytes()),
            // Of a flag, the kernel ignores the value.
            Self::Text(key, _) => {
                let key = key.to_bytes();
                key == b"source" || OPTIONS.contains(&key) || FLAGS.contains(&key)
            }
            Self::Create | Self::CreateExclusively | Self::Reconfigure => true,
        };
        if is_known { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Whether it takes a capability.
    const fn makes(&self) -> bool {
        matches!(self, Self::Create | Self::CreateExclusively | Self::Reconfigure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_procfs_and_its_superblock_are_taken_and_no_others() {
        let flag = |key: &str| Command::Flag(CString::new(key).unwrap()).check();
        let text = |key: &str| Command::Text(CString::new(key).unwrap(), c"1".into()).check();
        for key in ["source", "hidepid", "gid", "subset"] {
            assert_eq!((text(key), flag(key)), (Ok(()), Err(Errno::INVAL)), "{key}");
        }
        for key in ["ro", "rw", "lazytime"] {
            assert_eq!((text(key), flag(key)), (Ok(()), Ok(())), "{key}");
        }
        for key in ["pidns", "", "context", "silent", "posixacl"] {
            assert_eq!((text(key), flag(key)), (Err(Errno::INVAL), Err(Errno::INVAL)), "{key}");
        }
    }
}
