use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::mount::{
    FsMountFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_string, fsmount,
};
use seccomp_agent_nsenter::{Caller, Capabilities};
use seccomp_agent_registry::{Call, Errno, Handler, Verdict};

use crate::emulate::{Failure, emulate};

/// `mount(2)` of a new procfs: that of the caller's own pid namespace, onto a directory that the caller can
/// reach. Every other mount continues.
///
/// **Grants** what takes `CAP_SYS_ADMIN`, for this one file system. The mount is nosuid, nodev and noexec
/// whatever the caller asks for. Of procfs's own options `hidepid`, `gid` and `subset` are taken.
///
/// **Cannot know** which entries the runtime has masked in the container's first procfs: the new one shows
/// them. Nor whether a signal interrupts the caller between the last look at it and the answer: then the procfs
/// stays, and a call that is restarted mounts a second one on top; interrupted earlier, it leaves none. A caller in a user namespace of its own continues: there it has the capability, or the kernel refuses.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Mount;

/// How many bytes of mount options the kernel looks at: a page.
const MAX_OPTIONS: usize = 4096;

/// The options of procfs that are passed on. `pidns` would name a namespace other than the caller's.
const OPTIONS: [&[u8]; 3] = [b"hidepid", b"gid", b"subset"];

/// Flags that make a call something else than a new mount (`mount(2)`): `MS_REMOUNT`, `MS_BIND`, `MS_MOVE` and
/// the four propagation types.
const OTHER_OPERATIONS: u32 = 1 << 5 | 1 << 12 | 1 << 13 | 0b1111 << 17;

/// Before Linux 2.4 the flags had to carry this number in their upper half; it is still ignored there.
const MAGIC: u32 = 0xc0ed_0000;

impl Mount {
    /// The one that is limited to procfs.
    pub const fn procfs() -> Self {
        Self
    }
}

impl Handler for Mount {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if call.tid() == 0 {
            // Its arguments cannot be read; most are none of ours.
            return Verdict::Continue;
        }
        emulate(call, |call| match Request::read(call)? {
            Some(request) => mount_procfs(call, &request),
            None => Ok(Verdict::Continue),
        })
    }

    fn name(&self) -> &'static str {
        "mount"
    }
}

/// The arguments of a new procfs.
struct Request {
    source: Option<CString>,
    target: CString,
    attributes: MountAttrFlags,
    options: Option<CString>,
}

impl Request {
    /// `None` for every other mount, of which nothing but the type is read: the options of other file systems
    /// need not be strings. In the order in which the kernel reads.
    fn read(call: &Call<'_>) -> Result<Option<Self>, Failure> {
        let flags = flags(call.arg(3));
        if flags & OTHER_OPERATIONS != 0 {
            return Ok(None);
        }
        let memory = call.memory();
        let kind = memory.optional_c_string(call.arg(2), PATH_MAX)?;
        if kind.as_deref() != Some(c"proc") {
            return Ok(None);
        }
        let source = memory.optional_c_string(call.arg(0), PATH_MAX)?;
        let options = memory.optional_c_string(call.arg(4), MAX_OPTIONS)?;
        let target = memory.path(call.arg(1))?;
        Ok(Some(Self { source, target, attributes: attributes(flags), options }))
    }
}

fn mount_procfs(call: &Call<'_>, request: &Request) -> Result<Verdict, Failure> {
    let caller = Caller::open(call.tid())?;
    if !caller.is_in_our_user_namespace() {
        return Ok(Verdict::Continue);
    }
    call.note(|noted| {
        noted.path(&request.target).asks(format_args!("type=proc"));
        if let Some(options) = &request.options {
            noted.asks(format_args!("options={options:?}"));
        }
        noted.because("listed");
    });
    let options = options(request.options.as_deref().unwrap_or_default())?;
    let (mounts, pids) = (caller.mount_namespace()?, caller.pid_namespace()?);
    let by_option = call.features().proc_pidns;
    let (mount, target) = caller.act(
        || call.is_valid(),
        Capabilities::SYS_ADMIN,
        |scene| {
            let target = scene.mount_point(&request.target)?;
            let context = scene.open_procfs(&pids, by_option)?;
            if let Some(source) = request.source.as_deref() {
                fsconfig_set_string(context.as_fd(), c"source", source)?;
            }
            for (key, value) in &options {
                fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_c_str())?;
            }
            fsconfig_create(context.as_fd())?;
            Ok((fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, request.attributes)?, target))
        },
    )?;
    mounts.attach(mount, target, || call.is_valid())?;
    Ok(Verdict::Return(0))
}

/// What a path or a name may have at most, the NUL included.
const PATH_MAX: usize = 4096;

#[allow(clippy::cast_possible_truncation)] // All flags are in the lower half.
const fn flags(argument: u64) -> u32 {
    let flags = argument as u32;
    if flags & 0xffff_0000 == MAGIC { flags & 0xffff } else { flags }
}

/// The attributes of a new mount. Nothing in a procfs is a program or a device.
fn attributes(flags: u32) -> MountAttrFlags {
    let asked = MountFlags::from_bits_retain(flags);
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MountFlags::NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ] {
        attributes.set(attribute, asked.contains(flag));
    }
    // One of three; strict wins over none, and relative is what nobody asks for.
    if asked.contains(MountFlags::STRICTATIME) {
        attributes | MountAttrFlags::MOUNT_ATTR_STRICTATIME
    } else if asked.contains(MountFlags::NOATIME) {
        attributes | MountAttrFlags::MOUNT_ATTR_NOATIME
    } else {
        attributes
    }
}

/// Takes `key=value,key=value` apart. EINVAL for what procfs does not know or may not be told.
fn options(options: &CStr) -> Result<Vec<(CString, CString)>, Errno> {
    let given = options.to_bytes().split(|byte| *byte == b',').filter(|option| !option.is_empty());
    given
        .map(|option| {
            let equals = option.iter().position(|byte| *byte == b'=').ok_or(Errno::INVAL)?;
            let (key, value) = (&option[..equals], &option[equals + 1..]);
            if !OPTIONS.contains(&key) {
                return Err(Errno::INVAL);
            }
            let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::INVAL);
            Ok((string(key)?, string(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_procfs_are_taken_and_no_others() {
        let two = options(c"hidepid=2,gid=5").unwrap();
        assert_eq!(two, [(c"hidepid".into(), c"2".into()), (c"gid".into(), c"5".into())]);
        assert_eq!(options(c""), Ok(Vec::new()));
        assert_eq!(options(c"subset=pid,"), Ok(vec![(c"subset".into(), c"pid".into())]));
        for refused in [c"pidns=/proc/1/ns/pid", c"hidepid", c"=1", c"source=x"] {
            assert_eq!(options(refused), Err(Errno::INVAL), "{refused:?}");
        }
    }

    #[test]
    fn the_magic_number_of_old_programs_is_no_flag() {
        assert_eq!(flags(0xc0ed_0001), MountFlags::RDONLY.bits());
        assert_eq!(flags(0xc0ed_0000) & OTHER_OPERATIONS, 0);
        assert_ne!(flags(u64::from(MountFlags::BIND.bits())) & OTHER_OPERATIONS, 0);
    }

    #[test]
    fn a_procfs_runs_no_programs_whatever_was_asked() {
        let always = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        assert_eq!(attributes(0), always);
        assert_eq!(attributes(MountFlags::RDONLY.bits()), always | MountAttrFlags::MOUNT_ATTR_RDONLY);
        let both = (MountFlags::NOATIME | MountFlags::STRICTATIME).bits();
        assert_eq!(attributes(both), always | MountAttrFlags::MOUNT_ATTR_STRICTATIME);
    }
}
