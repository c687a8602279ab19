//! What a rule grants: one field a family of calls.

use std::ffi::CString;

use seccomp_agent_handlers::{Capabilities, Pattern};
use seccomp_agent_registry::{Arch, Syscall};
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::duration::Delay;
use crate::errno::ErrnoName;
use crate::mount::MountGrant;
use crate::near::hint;
use crate::numbers::{DeviceNodes, Ids};
use crate::template::Template;

/// Handlers and their parameters. What is left out is off.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Grants {
    /// mkdir, mkdirat: made as the caller, with a suffix to the name.
    pub(crate) directories: Option<DirectoryGrant>,
    /// mknod, mknodat: device nodes that can be made, as in the device cgroup: `c 1:3`, `b 7:*`.
    pub(crate) nodes: Vec<DeviceNodes>,
    /// mknod, mknodat: device nodes of the host, such as `/dev/fuse`, each bound where a node of its device, which
    /// `nodes` lists, could not be made or opened. No component may be a symbolic link.
    #[cfg_attr(test, schemars(with = "Vec<AbsolutePath>"))]
    pub(crate) host_nodes: Vec<Spanned<AbsolutePath>>,
    /// chmod and kin: capabilities that they are made with.
    pub(crate) modes: Vec<ModeCapability>,
    /// chown and kin: owners that files can be given to.
    pub(crate) owners: Option<OwnerGrant>,
    /// setxattr, removexattr and kin: prefixes of attributes that can be changed.
    pub(crate) attributes: Vec<AttributePrefix>,
    /// open and kin: files, devices and directories of the host that can be opened.
    pub(crate) open: Vec<OpenGrant>,
    /// mount, umount2: file systems that can be mounted, and other kinds of mounts.
    pub(crate) mount: Vec<MountGrant>,
    /// sysinfo: with the limits of the container's cgroups.
    pub(crate) sysinfo: bool,
    /// execve, execveat: programs that start late.
    pub(crate) exec_delay: Option<ExecDelayGrant>,
    /// execve, execveat: programs whose start is told of in the audit, by the path as the caller writes it.
    pub(crate) exec_alert: Vec<Glob>,
    /// execve, execveat: that the container's own program starts late.
    pub(crate) start_delay: Option<StartDelayGrant>,
    /// Any calls, each answered without looking at its arguments.
    pub(crate) calls: Vec<CallGrant>,
    /// All calls that nothing else answers.
    pub(crate) otherwise: Option<Answer>,
    /// That Falco is told of each notified call.
    pub(crate) falco: bool,
}

/// New directories.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectoryGrant {
    /// What is appended to the name; a template.
    pub(crate) suffix: Template,
}

/// A capability that counts for modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum ModeCapability {
    /// Modes of other people's files.
    #[serde(rename = "CAP_FOWNER")]
    Fowner,
    /// The set-group-ID bit of a file whose group the caller is not in.
    #[serde(rename = "CAP_FSETID")]
    Fsetid,
}

/// New owners. A change takes that all ids it names are listed.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct OwnerGrant {
    /// User ids: `1000`, `1000-1999`.
    pub(crate) users: Vec<Ids>,
    /// Group ids.
    pub(crate) groups: Vec<Ids>,
}

/// What the names of attributes begin with.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^(trusted|security)\\."))
)]
#[serde(try_from = "String")]
pub(crate) struct AttributePrefix(pub(crate) String);

/// A file of the host.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenGrant {
    /// What the container opens.
    #[cfg_attr(test, schemars(with = "AbsolutePath"))]
    pub(crate) path: Spanned<AbsolutePath>,
    /// What it gets; the same path if left out. No component may be a symbolic link.
    pub(crate) host: Option<AbsolutePath>,
    /// Whether it can be written.
    #[serde(default)]
    pub(crate) writable: bool,
}

/// A path that begins at the root.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String", extend("pattern" = "^/")))]
#[serde(try_from = "String")]
pub(crate) struct AbsolutePath(pub(crate) CString);

/// Programs that start late.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecDelayGrant {
    /// Which, by the path as the caller writes it; `*` and `?` as usual, slashes included.
    pub(crate) path: Glob,
    /// How late: `50ms`, `2s`.
    pub(crate) delay: Delay,
}

/// A container's own program, started late.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct StartDelayGrant {
    /// How late, counted from when the runtime hands the container over.
    pub(crate) delay: Delay,
    /// Containers that start at once, by their names in the pod.
    #[serde(default)]
    pub(crate) sidecars: Vec<Glob>,
}

/// A pattern: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(from = "String")]
pub(crate) struct Glob(Pattern);

/// Calls that are all answered alike.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct CallGrant {
    /// Their names.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(crate) names: Vec<Spanned<CallName>>,
    /// The answer.
    pub(crate) answer: Answer,
}

/// A call that some architecture has.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CallName(Syscall);

/// An answer: `continue`, `log`, `kill`, `kill-container`, `{errno: EPERM}`, `{return: 0}`, `{delay: 50ms}` or `{freeze: EPERM}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// The kernel runs the call.
    Continue,
    /// The kernel runs it, and it is logged.
    Log,
    /// The caller's process is killed.
    Kill,
    /// The caller's whole container is killed.
    KillContainer,
    /// The kernel runs it, this much later.
    Delay(Delay),
    /// It is not run, and fails with this.
    Errno(ErrnoName),
    /// It is not run, and returns this.
    Return(i64),
    /// The container is frozen; when it is thawed, or if it cannot be frozen, the call fails with this.
    Freeze(ErrnoName),
}

impl ModeCapability {
    pub(crate) const fn capability(self) -> Capabilities {
        match self {
            Self::Fowner => Capabilities::FOWNER,
            Self::Fsetid => Capabilities::FSETID,
        }
    }
}

impl Glob {
    pub(crate) fn new(text: String) -> Self {
        Self(Pattern::new(text))
    }

    pub(crate) const fn pattern(&self) -> &Pattern {
        &self.0
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.matches(text.as_bytes())
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl TryFrom<String> for AttributePrefix {
    type Error = String;

    fn try_from(prefix: String) -> Result<Self, String> {
        if prefix.starts_with("trusted.") || prefix.starts_with("security.") {
            Ok(Self(prefix))
        } else {
            Err(format!("{prefix:?} does not begin with trusted. or security.; no others take a grant"))
        }
    }
}

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        match CString::new(path) {
            Ok(path) if path.as_bytes().starts_with(b"/") => Ok(Self(path)),
            Ok(path) => Err(format!("{path:?} is no absolute path")),
            Err(_) => Err("a path has no NUL bytes".to_owned()),
        }
    }
}

impl CallName {
    pub(crate) fn name(&self) -> &'static str {
        // It was found by its name.
        self.0.name().unwrap_or_default()
    }
}

impl TryFrom<String> for CallName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Arch::all().find_map(|arch| Syscall::named(arch, &name)).map(Self).ok_or_else(|| {
            let calls = Arch::native().family().iter().flat_map(|arch| Syscall::all(*arch));
            format!("unknown system call {name:?}{}", hint(&name, calls.filter_map(Syscall::name)))
        })
    }
}
