use rustix::fs::{AtFlags, Gid, Uid, chownat};
use seccomp_agent_nsenter::{AT_FDCWD, Caller, Capabilities, Target};
use seccomp_agent_registry::{Arch, Call, Handler, Verdict};

use crate::arguments::{Numbers, listed, lookup_flags};
use crate::emulate::{Failure, emulate_for};

/// `chown(2)`, `lchown(2)`, `fchown(2)` and `fchownat(2)`, made as the caller.
///
/// **Grants** `CAP_CHOWN` where the new owner and the new group, as far as they are given, are both listed.
/// Any other change is made with what the caller has.
///
/// In a user namespace of its own the ids are those of the caller's namespace, in its call and in the lists.
///
/// **Cannot know** whose file it was: with the grant any file that the container can reach can be given to the
/// listed ids, but for entries of procfs: they are the host's as well, and refused with EPERM. The kernel drops
/// set-user-ID and set-group-ID bits and file capabilities as ever; to drop the bits of a file that is not the
/// caller's it asks for `CAP_FOWNER` as well, and refuses without.
#[derive(Clone, Debug)]
pub struct Owners {
    users: Numbers,
    groups: Numbers,
}

impl Owners {
    /// Grants changes to these users and groups.
    pub const fn granting(users: Numbers, groups: Numbers) -> Self {
        Self { users, groups }
    }

    fn change(&self, call: &Call<'_>, caller: &Caller) -> Result<Verdict, Failure> {
        let first = if call.syscall().name() == Some("fchownat") { 2 } else { 1 };
        let (user, group) = (id(call, first), id(call, first + 1));
        let has = |list: &Numbers, id: Option<u32>| id.is_none_or(|id| list.contains(id));
        let is_listed = has(&self.users, user) && has(&self.groups, group);
        call.note(|noted| {
            let id = |id: Option<u32>| id.map_or(-1, i64::from);
            noted.asks(format_args!("user={} group={}", id(user), id(group))).because(listed(is_listed));
        });
        let target = named(call, caller)?;
        let grant = if is_listed { Capabilities::CHOWN } else { Capabilities::empty() };
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        caller.act(
            || call.is_valid(),
            grant,
            |scene| chownat(scene.open(&target)?, c"", user, group, AtFlags::EMPTY_PATH),
        )?;
        Ok(Verdict::Return(0))
    }
}

impl Handler for Owners {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        emulate_for(call, |call, caller| self.change(call, caller))
    }

    fn name(&self) -> &'static str {
        "owners"
    }
}

/// Whose owner is changed.
fn named(call: &Call<'_>, caller: &Caller) -> Result<Target, Failure> {
    let (dirfd, path, flags) = match call.syscall().name() {
        Some("fchown" | "fchown32") => {
            call.note(|noted| {
                noted.asks(format_args!("fd={}", call.int_arg(0)));
            });
            return Ok(caller.descriptor(call.int_arg(0))?);
        }
        Some("fchownat") => (call.int_arg(0), call.arg(1), lookup_flags(call.int_arg(4))?),
        Some("lchown" | "lchown32") => (AT_FDCWD, call.arg(0), AtFlags::SYMLINK_NOFOLLOW),
        _ => (AT_FDCWD, call.arg(0), AtFlags::empty()),
    };
    let path = call.memory().path(path)?;
    call.note(|noted| {
        noted.path(&path);
    });
    Ok(caller.target(dirfd, &path, flags)?)
}

/// The id in an argument; `None` for -1, which changes nothing. The oldest calls of 32-bit programs have ids of
/// 16 bits.
fn id(call: &Call<'_>, index: usize) -> Option<u32> {
    let is_narrow = matches!(call.syscall().arch, Arch::X86 | Arch::Arm)
        && matches!(call.syscall().name(), Some("chown" | "lchown" | "fchown"));
    let id = call.int_arg(index).cast_unsigned();
    if is_narrow {
        Some(id & 0xffff).filter(|id| *id != 0xffff)
    } else {
        Some(id).filter(|id| *id != u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_agent_registry::{Container, Notification, Syscall};

    #[test]
    fn ids_are_as_wide_as_the_call_has_them() {
        let container = Container::named("c");
        let mut notification = Notification::sample("fchown");
        for (arch, name, argument, expected) in [
            (Arch::X86_64, "fchown", 0xffff_ffff, None),
            (Arch::X86_64, "fchown", 0xffff, Some(0xffff)),
            (Arch::X86, "fchown", 0xffff, None),
            (Arch::X86, "fchown", 0xffff_ffff, None),
            (Arch::X86, "fchown", 0x1_0005, Some(5)),
            (Arch::X86, "fchown32", 0xffff, Some(0xffff)),
            (Arch::X86, "fchown32", 0xffff_ffff, None),
            (Arch::X86, "fchownat", 0xffff, Some(0xffff)),
        ] {
            notification.syscall = Syscall::named(arch, name).unwrap();
            notification.args = [argument; 6];
            assert_eq!(id(&Call::new(&notification, &container), 1), expected, "{arch} {name} {argument:#x}");
        }
    }
}
