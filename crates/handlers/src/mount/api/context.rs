use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::mount::{
    fsconfig_create, fsconfig_create_exclusive, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string,
};
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::{Call, Errno, Verdict};

use super::table::{Of, Table};
use super::{BY_MOUNT, descriptor, hand_in, refuse, too_long_is_invalid};
use crate::emulate::Failure;
use crate::mount::file_system::FileSystemGrant;
use crate::mount::layers::Layers;
use crate::mount::mounter::Mounter;
use crate::mount::ours::{IN_OURS, Ours, number};
use crate::mount::setting::Setting;

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

/// `fsopen(2)` of a file system that is granted.
pub(super) fn open(call: &Call<'_>, table: &Table, grants: &[FileSystemGrant]) -> Result<Verdict, Failure> {
    let kind = call.memory().c_string(call.arg(0), MAX_KIND).map_err(too_long_is_invalid)?;
    let Some(grant) = grants.iter().find(|grant| grant.kind.name() == kind.as_c_str()) else {
        return Ok(Verdict::Continue);
    };
    let kind = grant.kind;
    let Some(mounter) = Mounter::enter(call)?.filter(|mounter| grant.is_for(mounter)) else {
        return Ok(Verdict::Continue);
    };
    let is_ours = mounter.namespace.is_ours()?;
    let setting = || Setting::of(call, &mounter, &*Ours::of(call, &mounter)?, kind);
    // What it is refused, the kernel refuses it when the file system is made.
    if mounter.is_capable && setting().map_or(true, |setting| setting.is_left_to_the_kernel(&mounter)) {
        return Ok(Verdict::Continue);
    }
    call.note(|noted| {
        noted.asks(format_args!("type={}", kind.name().to_string_lossy())).because("listed");
    });
    if is_ours {
        return refuse(call, IN_OURS);
    }
    let flags = u64::from(call.int_arg(1).cast_unsigned());
    if flags & !CLOEXEC != 0 {
        return Err(Errno::INVAL.into());
    }
    if kind.is_by_mount_only() {
        call.note(|noted| {
            noted.because(BY_MOUNT);
        });
        return Err(Errno::NOSYS.into());
    }
    let setting = setting()?;
    let file = setting.act(call, &mounter, |_| Ok(()), |scene, ()| setting.open_context(scene))?;
    let of = Of { kind, is_processes_only: setting.is_processes_only, is_picked: false };
    let handle = table.insert_context(file, of, number(&mounter.namespace)?)?;
    hand_in(call, handle.as_fd(), flags & CLOEXEC != 0)
}

/// `fsconfig(2)`.
pub(super) fn configure(
    call: &Call<'_>,
    table: &Table,
    grants: &[FileSystemGrant],
) -> Result<Verdict, Failure> {
    let Some(mounter) = Mounter::enter(call)? else { return Ok(Verdict::Continue) };
    let handle = descriptor(&mounter.caller, call.int_arg(0));
    let Some(context) = handle.and_then(|handle| table.context(handle)) else {
        return Ok(Verdict::Continue);
    };
    call.note(|noted| {
        noted.asks(format_args!("type={}", context.of.kind.name().to_string_lossy())).because("listed");
    });
    if context.namespace != number(&mounter.namespace)? {
        return refuse(call, "the context is for another mount namespace");
    }
    let command = Command::read(call)?;
    call.note(|noted| {
        match &command {
            Command::Flag(key) => noted.asks(format_args!("flag={key:?}")),
            Command::Text(key, value) => noted.asks(format_args!("key={key:?} value={value:?}")),
            command => noted.asks(format_args!("command={command:?}")),
        };
    });
    let grant = grants
        .iter()
        .find(|grant| grant.kind == context.of.kind && grant.is_for(&mounter))
        .ok_or(Errno::PERM)?;
    if !command.is_for(grant, context.of)? {
        return Ok(Verdict::Return(0));
    }
    let file = context.file.as_fd();
    if command.makes() || mounter.is_foreign() {
        // Ids among the options are numbers of the caller's user namespace.
        let ours = Ours::of(call, &mounter)?;
        let setting = Setting::of(call, &mounter, &ours, context.of.kind)?;
        setting.act(call, &mounter, |_| Ok(()), |_, ()| command.carry_out(file))?;
    } else {
        let caller = &mounter.caller;
        caller.act(|| call.is_valid(), Capabilities::empty(), |_| command.carry_out(file))?;
    }
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
            // Binary values, paths and descriptors: nothing that is granted is one.
            2..=5 => Err(Errno::INVAL.into()),
            6 => valid(bare).map(|()| Self::Create).map_err(Failure::from),
            7 => valid(bare).map(|()| Self::Reconfigure).map_err(Failure::from),
            8 => valid(bare).map(|()| Self::CreateExclusively).map_err(Failure::from),
            _ => Err(Errno::OPNOTSUPP.into()),
        }
    }

    /// Whether there is anything to do. EINVAL for an option that the file system does not know or may not be told,
    /// EPERM for what would change it for others.
    fn is_for(&self, grant: &FileSystemGrant, of: Of) -> Result<bool, Errno> {
        let (Self::Flag(key) | Self::Text(key, _)) = self else {
            // Of one that is there for others as well, only the mount is changed.
            let changes_others = *self == Self::Reconfigure && !grant.kind.is_new();
            return if changes_others && !of.is_picked { Err(Errno::PERM) } else { Ok(!changes_others) };
        };
        let key = key.to_bytes();
        if FLAGS.contains(&key) {
            // Of one that others see as well, it is the mount that is read-only or not.
            return Ok(grant.kind.is_new());
        }
        if key == b"source" && matches!(self, Self::Text(..)) {
            return Ok(true);
        }
        let option = grant.vet_one(key)?;
        if of.is_picked && (key == b"subset" || Layers::has(&option)) {
            // Neither is changed by a remount.
            return Err(Errno::INVAL);
        }
        // That is set already.
        Ok(!(of.is_processes_only && key == b"subset"))
    }

    /// While acting: does it.
    fn carry_out(&self, context: BorrowedFd<'_>) -> Result<(), Errno> {
        match self {
            Self::Flag(key) => fsconfig_set_flag(context, key.as_c_str()),
            Self::Text(key, value) => fsconfig_set_string(context, key.as_c_str(), value.as_c_str()),
            Self::Create => fsconfig_create(context),
            Self::CreateExclusively => fsconfig_create_exclusive(context),
            Self::Reconfigure => fsconfig_reconfigure(context),
        }
    }

    /// Whether it takes a capability.
    const fn makes(&self) -> bool {
        matches!(self, Self::Create | Self::CreateExclusively | Self::Reconfigure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::file_system::FileSystem;

    fn of(kind: FileSystem) -> Of {
        Of { kind, is_processes_only: false, is_picked: false }
    }

    fn asked(kind: FileSystem, key: &str) -> [Result<bool, Errno>; 2] {
        let key = CString::new(key).unwrap();
        let commands = [Command::Flag(key.clone()), Command::Text(key, c"1".into())];
        commands.map(|command| command.is_for(&kind.into(), of(kind)))
    }

    #[test]
    fn granted_options_are_taken_and_no_others() {
        let (all, none) = ([Ok(true); 2], [Err(Errno::INVAL); 2]);
        for (kind, key, expected) in [
            (FileSystem::Proc, "hidepid", all),
            (FileSystem::Proc, "ro", all),
            (FileSystem::Proc, "pidns", none),
            (FileSystem::Proc, "size", none),
            (FileSystem::Proc, "", none),
            (FileSystem::Proc, "hidepid=1", all),
            (FileSystem::Tmpfs, "size", all),
            (FileSystem::Tmpfs, "context", none),
            (FileSystem::Tmpfs, "source", [Err(Errno::INVAL), Ok(true)]),
            (FileSystem::Sysfs, "ro", [Ok(false); 2]),
            (FileSystem::Sysfs, "gid", none),
        ] {
            assert_eq!(asked(kind, key), expected, "{kind:?} {key:?}");
        }
    }

    #[test]
    fn what_others_see_is_not_reconfigured() {
        let asked = |kind: FileSystem| Command::Reconfigure.is_for(&kind.into(), of(kind));
        assert_eq!(asked(FileSystem::Tmpfs), Ok(true));
        assert_eq!(asked(FileSystem::Sysfs), Err(Errno::PERM));
        assert_eq!(asked(FileSystem::Mqueue), Err(Errno::PERM));
    }

    #[test]
    fn one_of_processes_only_stays_so() {
        let subset = Command::Text(c"subset".into(), c"".into());
        let processes = Of { is_processes_only: true, ..of(FileSystem::Proc) };
        assert_eq!(subset.is_for(&FileSystem::Proc.into(), processes), Ok(false));
        let picked = Of { is_picked: true, ..of(FileSystem::Proc) };
        assert_eq!(subset.is_for(&FileSystem::Proc.into(), picked), Err(Errno::INVAL));
    }
}
