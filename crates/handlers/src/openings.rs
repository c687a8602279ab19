use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use seccomp_agent_nsenter::open_host_file;
use seccomp_agent_registry::{Call, Errno, Fields, Handler, Layout, Verdict};

use crate::emulate::{Failure, emulate};

/// `open(2)`, `openat(2)`, `openat2(2)` and `creat(2)` of listed paths: the caller gets a file, device or
/// directory of the host.
///
/// **Grants** what is listed, opened by the agent: the caller's own rights do not count. A directory has no way
/// up, and what is read-only cannot be opened again for writing; a device that is read-only can, if the
/// container's device cgroup and the node's mode let it. Nothing is created.
///
/// **Is no barrier.** A path is compared as the caller wrote it, absolute and whole. Written otherwise, it names
/// what is in the container, as every path that is not listed does: the call continues.
///
/// **Cannot know** whether a caller that is interrupted just then has taken note of its new descriptor: it may be
/// left with one that it does not know of.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    files: Vec<HostFile>,
}

/// A file, device or directory of the host, and the path by which a container gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// What the container opens: an absolute path.
    pub path: CString,
    /// What it gets. No component may be a symbolic link.
    pub host: CString,
    /// Whether it can be read only. Takes Linux 5.12.
    pub read_only: bool,
}

/// A path of a file of the host, or of a container for it, that is not absolute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} is not absolute, and would mean something else in each working directory")]
#[non_exhaustive]
pub struct RelativePath {
    /// The path.
    pub path: CString,
}

impl Openings {
    /// Grants these files. Fails for a path that is not absolute: it would mean something else in each working
    /// directory.
    pub fn granting(files: Vec<HostFile>) -> Result<Self, RelativePath> {
        match files.iter().find(|file| !file.path.to_bytes().starts_with(b"/")) {
            Some(file) => Err(RelativePath { path: file.path.clone() }),
            None => Ok(Self { files }),
        }
    }

    fn open(&self, call: &Call<'_>) -> Result<Verdict, Failure> {
        let path = call.memory().path(path_argument(call))?;
        let Some(file) = self.files.iter().find(|file| file.path == path) else {
            return Ok(Verdict::Continue);
        };
        let Some(flags) = flags(call)? else { return Ok(Verdict::Continue) };
        call.note(|noted| {
            let access = if file.read_only { "read-only" } else { "writable" };
            noted.path(&path).asks(format_args!("flags={:#x}", flags.bits()));
            noted.asks(format_args!("host={:?} access={access}", file.host)).because("listed");
        });
        call.check_valid()?;
        let opened = open_host_file(&file.host, permitted(flags, file.read_only)?, file.read_only)?;
        let listener = call.listener().ok_or(Errno::INTR)?;
        // First the descriptor, then the answer: both at once can lose the descriptor and still succeed.
        let number = listener.add_fd(call.notification().id, opened.as_fd(), flags.contains(OFlags::CLOEXEC));
        number.map(|number| Verdict::Return(number.into())).map_err(|errno| match errno {
            Errno::NOENT => Errno::INTR.into(),
            other => other.into(),
        })
    }
}

impl Handler for Openings {
    fn handle(&self, call: &Call<'_>) -> Verdict {
        if call.tid() == 0 {
            // Its arguments cannot be read; most are none of ours.
            return Verdict::Continue;
        }
        emulate(call, |call| self.open(call))
    }

    fn name(&self) -> &'static str {
        "open"
    }
}

fn path_argument(call: &Call<'_>) -> u64 {
    match call.syscall().name() {
        Some("open" | "creat") => call.arg(0),
        _ => call.arg(1),
    }
}

/// How the file is to be opened; `None` where the kernel must look at more than that.
fn flags(call: &Call<'_>) -> Result<Option<OFlags>, Failure> {
    let raw = match call.syscall().name() {
        Some("creat") => return Ok(Some(OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC)),
        Some("open") => call.int_arg(1).cast_unsigned(),
        Some("openat") => call.int_arg(2).cast_unsigned(),
        _ => {
            let how = call.memory().structure::<OpenHow>(call.arg(2))?;
            let size = OpenHow::size(call.syscall().arch) as u64;
            // Restrictions of the walk, flags that do not exist and fields that are not known here.
            match u32::try_from(how.flags) {
                Ok(flags) if how.resolve == 0 && call.arg(3) == size => flags,
                _ => return Ok(None),
            }
        }
    };
    Ok(Some(OFlags::from_bits_retain(raw)))
}

/// What is left of the flags for a file that exists, or the error that the kernel has for them.
fn permitted(flags: OFlags, read_only: bool) -> Result<OFlags, Errno> {
    if flags.contains(OFlags::CREATE | OFlags::EXCL) {
        return Err(Errno::EXIST);
    }
    if flags.contains(OFlags::TMPFILE) {
        return Err(Errno::OPNOTSUPP);
    }
    let is_path = flags.contains(OFlags::PATH);
    let writes = flags & OFlags::ACCMODE != OFlags::RDONLY || flags.contains(OFlags::TRUNC);
    if read_only && writes && !is_path { Err(Errno::ROFS) } else { Ok(flags) }
}

/// `struct open_how` of `openat2(2)`.
struct OpenHow {
    flags: u64,
    resolve: u64,
}

impl Layout for OpenHow {
    fn size(_: seccomp_agent_registry::Arch) -> usize {
        24
    }

    fn parse(fields: &mut Fields<'_>) -> Self {
        let (flags, _mode, resolve) = (fields.u64(), fields.u64(), fields.u64());
        Self { flags, resolve }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn paths_that_are_not_absolute_are_refused() {
        let file = |path: &CStr| HostFile { path: path.into(), host: c"/dev/null".into(), read_only: true };
        for path in [c"", c"dev/null", c"./dev/null"] {
            let refused = Openings::granting(vec![file(c"/fine"), file(path)]);
            assert_eq!(refused.unwrap_err(), RelativePath { path: path.into() });
        }
        assert!(Openings::granting(vec![file(c"/fine")]).is_ok());
    }

    #[test]
    fn flags_are_those_for_a_file_that_exists() {
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        let create = OFlags::CREATE | OFlags::WRONLY;
        for (flags, read_only, expected) in [
            (read, true, Ok(read)),
            (create, false, Ok(create)),
            (create, true, Err(Errno::ROFS)),
            (OFlags::RDONLY | OFlags::TRUNC, true, Err(Errno::ROFS)),
            (OFlags::RDWR, true, Err(Errno::ROFS)),
            (OFlags::PATH, true, Ok(OFlags::PATH)),
            (create | OFlags::EXCL, false, Err(Errno::EXIST)),
            (OFlags::TMPFILE | OFlags::RDWR, false, Err(Errno::OPNOTSUPP)),
        ] {
            assert_eq!(permitted(flags, read_only), expected, "{flags:?}");
        }
    }
}
