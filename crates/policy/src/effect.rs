//! From what is granted to the handlers that do it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;

use seccomp_agent_handlers::{
    AnyCall, Attributes, Directories, Executions, Freeze, HostFile, KillContainer, Modes, Mount, Nodes,
    Numbers, Openings, Owners, Sysinfo,
};
use seccomp_agent_recorder::InvalidName;
use seccomp_agent_registry::{Errno, Handler};

use crate::duration::Delay;
use crate::errno::ErrnoName;
use crate::grant::ModeCapability;
use crate::grant::{Answer, DirectoryGrant, ExecDelayGrant, Glob, Grants, OwnerGrant, StartDelayGrant};
use crate::identity::Field;
use crate::mount::MountGrant;
use crate::request::{Honoured, Key};
use crate::template::{RenderError, Template, TemplateError};

/// A family of calls that one handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Directories,
    Nodes,
    Modes,
    Owners,
    Attributes,
    Open,
    Mount,
    Sysinfo,
    ExecDelay,
    ExecAlert,
    StartDelay,
    /// That of all calls that have no other.
    Otherwise,
}

/// Which requests changed what a family does.
pub(crate) type Origins = BTreeMap<Family, Vec<String>>;

/// A handler, and what it is told.
pub(crate) struct Effect {
    /// What the policy calls it.
    pub(crate) name: &'static str,
    /// The calls that it answers; none if those are all others.
    pub(crate) calls: Vec<&'static str>,
    /// Its parameters, as the policy writes them.
    pub(crate) parameters: String,
    /// Itself.
    pub(crate) handler: Arc<dyn Handler>,
    /// Whether it decides anything that a record could be of.
    pub(crate) decides: bool,
}

/// Why a request that is honoured cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is no duration.
    #[error("{0}")]
    Duration(String),
    /// It is neither true nor false.
    #[error("{0:?} is neither true nor false")]
    Boolean(String),
    /// It is no file system.
    #[error("{0}")]
    FileSystem(String),
    /// It is none of the words that there are.
    #[error("{value:?} is none of {}", known.join(", "))]
    Word {
        /// What it is.
        value: String,
        /// What there is.
        known: &'static [&'static str],
    },
    /// Violations are looked for among the very calls that it answers.
    #[error("calls that no handler answers cannot both be violations and have an answer")]
    Taken,
    /// It is no name of a recording.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// It needs another one that was not made.
    #[error("it takes {0} as well")]
    Incomplete(&'static str),
}

impl Family {
    pub(crate) const ALL: [Self; 12] = [
        Self::Directories,
        Self::Nodes,
        Self::Modes,
        Self::Owners,
        Self::Attributes,
        Self::Open,
        Self::Mount,
        Self::Sysinfo,
        Self::ExecDelay,
        Self::ExecAlert,
        Self::StartDelay,
        Self::Otherwise,
    ];

    /// The key of the policy.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Directories => "directories",
            Self::Nodes => "nodes",
            Self::Modes => "modes",
            Self::Owners => "owners",
            Self::Attributes => "attributes",
            Self::Open => "open",
            Self::Mount => "mount",
            Self::Sysinfo => "sysinfo",
            Self::ExecDelay => "exec-delay",
            Self::ExecAlert => "exec-alert",
            Self::StartDelay => "start-delay",
            Self::Otherwise => "otherwise",
        }
    }

    /// The calls that its handler answers, on all architectures together.
    pub(crate) const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Directories => &["mkdir", "mkdirat"],
            Self::Nodes => &["mknod", "mknodat"],
            Self::Modes => &["chmod", "fchmod", "fchmodat", "fchmodat2"],
            Self::Owners => &["chown", "lchown", "fchown", "fchownat", "chown32", "lchown32", "fchown32"],
            Self::Attributes => {
                &["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"]
            }
            Self::Open => &["open", "openat", "openat2", "creat"],
            Self::Mount => Mount::CALLS,
            Self::Sysinfo => &["sysinfo"],
            Self::ExecDelay | Self::ExecAlert | Self::StartDelay => &["execve", "execveat"],
            Self::Otherwise => &[],
        }
    }

    /// Whose handler fulfils a request, if one does.
    pub(crate) const fn of(key: Key) -> Option<Self> {
        match key {
            Key::MkdirTmpl => Some(Self::Directories),
            Key::ExecPattern | Key::ExecDuration => Some(Self::ExecDelay),
            Key::MountProc | Key::MountSysfs | Key::MountOtherFsList | Key::MountNeedCapAdmin => {
                Some(Self::Mount)
            }
            Key::Sidecars | Key::SidecarsDelay => Some(Self::StartDelay),
            Key::DefaultAction => Some(Self::Otherwise),
            Key::Middleware | Key::Record | Key::Complain => None,
        }
    }

    /// Whether `grants` have it on.
    pub(crate) const fn is_in(self, grants: &Grants) -> bool {
        match self {
            Self::Directories => grants.directories.is_some(),
            Self::Nodes => !grants.nodes.is_empty(),
            Self::Modes => !grants.modes.is_empty(),
            Self::Owners => grants.owners.is_some(),
            Self::Attributes => !grants.attributes.is_empty(),
            Self::Open => !grants.open.is_empty(),
            Self::Mount => !grants.mount.is_empty(),
            Self::Sysinfo => grants.sysinfo,
            Self::ExecDelay => grants.exec_delay.is_some(),
            Self::ExecAlert => !grants.exec_alert.is_empty(),
            Self::StartDelay => grants.start_delay.is_some(),
            Self::Otherwise => grants.otherwise.is_some(),
        }
    }
}

/// Adds to `grants` what is asked for. An error comes with the request that it is about.
pub(crate) fn fulfil(grants: &mut Grants, honoured: &Honoured) -> Result<Origins, (String, RequestError)> {
    let mut origins = Origins::new();
    for (key, (value, origin)) in honoured {
        let has_effect =
            fulfil_one(grants, honoured, *key, value).map_err(|error| (origin.clone(), error))?;
        if let Some(family) = Family::of(*key).filter(|_| has_effect) {
            origins.entry(family).or_default().push(origin.clone());
        }
    }
    Ok(origins)
}

fn fulfil_one(grants: &mut Grants, honoured: &Honoured, key: Key, value: &str) -> Result<bool, RequestError> {
    match key {
        Key::MkdirTmpl => grants.directories = Some(DirectoryGrant { suffix: Template::parse(value)? }),
        Key::ExecPattern | Key::ExecDuration => {
            let asked = |key| honoured.get(&key).map(|(value, _)| value.as_str());
            let granted = grants.exec_delay.take();
            let path = asked(Key::ExecPattern).map(|text| Glob::new(text.to_owned()));
            let delay = asked(Key::ExecDuration).map(Delay::parse).transpose();
            let delay = delay.map_err(RequestError::Duration)?;
            let (given_path, given_delay) = granted.map(|grant| (grant.path, grant.delay)).unzip();
            grants.exec_delay = Some(ExecDelayGrant {
                path: path.or(given_path).ok_or(RequestError::Incomplete(Key::ExecPattern.name()))?,
                delay: delay.or(given_delay).ok_or(RequestError::Incomplete(Key::ExecDuration.name()))?,
            });
        }
        Key::MountProc => return mount_if(grants, "proc", boolean(value)?),
        Key::MountSysfs => return mount_if(grants, "sysfs", boolean(value)?),
        Key::MountOtherFsList => {
            let mut has_effect = false;
            for name in listed(value) {
                has_effect |= mount_if(grants, name, true)?;
            }
            return Ok(has_effect);
        }
        Key::MountNeedCapAdmin => {
            let mut has_effect = false;
            if boolean(value)? {
                grants.mount.iter_mut().for_each(|grant| has_effect |= grant.restrict());
            }
            return Ok(has_effect);
        }
        Key::Sidecars | Key::SidecarsDelay => {
            let asked = |key| honoured.get(&key).map(|(value, _)| value.as_str());
            let (given_delay, given_sidecars) =
                grants.start_delay.take().map(|grant| (grant.delay, grant.sidecars)).unzip();
            let delay = asked(Key::SidecarsDelay).map(Delay::parse).transpose();
            let delay = delay.map_err(RequestError::Duration)?.or(given_delay);
            let sidecars =
                asked(Key::Sidecars).map(|names| listed(names).map(|name| Glob::new(name.to_owned())));
            let sidecars = sidecars.map(Iterator::collect).or(given_sidecars);
            grants.start_delay = Some(StartDelayGrant {
                delay: delay.ok_or(RequestError::Incomplete(Key::SidecarsDelay.name()))?,
                sidecars: sidecars.ok_or(RequestError::Incomplete(Key::Sidecars.name()))?,
            });
        }
        Key::Middleware => {
            for name in listed(value) {
                match name {
                    "falco" => grants.falco = true,
                    // Calls are always counted.
                    "prometheus" => {}
                    other => return Err(word(other, &["falco", "prometheus"])),
                }
            }
            return Ok(false);
        }
        Key::DefaultAction => {
            grants.otherwise = Some(match value {
                "kill-container" => Answer::KillContainer,
                "freeze-container" => Answer::Freeze(ErrnoName(Errno::PERM)),
                other => return Err(word(other, &["kill-container", "freeze-container"])),
            });
        }
        // No handler's.
        Key::Record | Key::Complain => return Ok(false),
    }
    Ok(true)
}

/// The names of a list with commas.
fn listed(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn boolean(value: &str) -> Result<bool, RequestError> {
    value.parse().map_err(|_| RequestError::Boolean(value.to_owned()))
}

fn word(value: &str, known: &'static [&'static str]) -> RequestError {
    RequestError::Word { value: value.to_owned(), known }
}

/// Adds a file system to what can be mounted, or takes it away; whether that changes anything. What a rule says of one
/// that is there stays.
fn mount_if(grants: &mut Grants, name: &str, is_asked: bool) -> Result<bool, RequestError> {
    let asked = MountGrant::file_system(name).map_err(RequestError::FileSystem)?;
    let before = grants.mount.len();
    if !is_asked {
        grants.mount.retain(|grant| !grant.is_kind_of(&asked));
    } else if !grants.mount.iter().any(|grant| grant.is_kind_of(&asked)) {
        grants.mount.push(asked);
    }
    Ok(grants.mount.len() != before)
}

impl Effect {
    /// Whether it answers all calls that have no handler of their own.
    pub(crate) const fn is_for_others(&self) -> bool {
        self.calls.is_empty()
    }
}

/// The handlers of `grants`, for a container with these values of templates' fields.
pub(crate) fn effects(grants: &Grants, values: &BTreeMap<Field, String>) -> Result<Vec<Effect>, RenderError> {
    let families = Family::ALL.into_iter().filter(|family| family.is_in(grants));
    let mut effects: Vec<Effect> =
        families.map(|family| effect(family, grants, values)).collect::<Result<_, _>>()?;
    effects.extend(grants.calls.iter().map(|grant| {
        let (parameters, handler, decides) = answer(grant.answer);
        let calls = grant.names.iter().map(|name| name.value.name()).collect();
        Effect { name: "calls", calls, parameters, handler, decides }
    }));
    Ok(effects)
}

fn effect(family: Family, grants: &Grants, values: &BTreeMap<Field, String>) -> Result<Effect, RenderError> {
    let mut decides = true;
    let (parameters, handler): (String, Arc<dyn Handler>) = match family {
        Family::Directories => {
            let template = grants.directories.as_ref().map(|grant| &grant.suffix);
            let suffix = template.map(|template| template.render(values)).transpose()?.unwrap_or_default();
            (format!("suffix {suffix:?}"), Arc::new(Directories::with_suffix(suffix)))
        }
        Family::Nodes => nodes(grants),
        Family::Modes => {
            let name = |capability: &ModeCapability| match capability {
                ModeCapability::Fowner => "CAP_FOWNER",
                ModeCapability::Fsetid => "CAP_FSETID",
            };
            let grant = grants.modes.iter().map(|capability| capability.capability()).collect();
            (joined(grants.modes.iter().map(name)), Arc::new(Modes::granting(grant)))
        }
        Family::Owners => owners(&grants.owners.clone().unwrap_or_default()),
        Family::Attributes => {
            let prefixes = grants.attributes.iter().map(|prefix| prefix.0.as_str());
            (joined(prefixes.clone()), Arc::new(Attributes::granting(prefixes)))
        }
        Family::Open => openings(grants),
        Family::Mount => (joined(grants.mount.iter()), Arc::new(MountGrant::handler(&grants.mount))),
        Family::Sysinfo => ("of the container's cgroups".to_owned(), Arc::new(Sysinfo::of_cgroup())),
        Family::ExecDelay => {
            let grant = grants.exec_delay.as_ref();
            let pattern = grant.map_or_else(|| Glob::new(String::new()), |grant| grant.path.clone());
            let delay = grant.map(|grant| grant.delay.0).unwrap_or_default();
            (format!("{} by {delay:?}", pattern.pattern()), executions(grants, values))
        }
        Family::ExecAlert => {
            (joined(grants.exec_alert.iter().map(Glob::pattern)), executions(grants, values))
        }
        Family::StartDelay => {
            let late = start_delay(grants, values).map(|delay| format!("by {:?}", delay.0));
            (late.unwrap_or_else(|| "none, as a sidecar".to_owned()), executions(grants, values))
        }
        Family::Otherwise => {
            let (parameters, handler, is_deciding) = answer(grants.otherwise.unwrap_or(Answer::Continue));
            decides = is_deciding;
            (parameters, handler)
        }
    };
    Ok(Effect { name: family.name(), calls: family.calls().to_vec(), parameters, handler, decides })
}

fn nodes(grants: &Grants) -> (String, Arc<dyn Handler>) {
    let devices = grants.nodes.iter().map(|nodes| nodes.devices.clone()).collect();
    let paths: Vec<_> = grants.host_nodes.iter().map(|path| path.value.0.clone()).collect();
    let listed = joined(grants.nodes.iter().map(|nodes| &nodes.text));
    let shown = joined(paths.iter().map(|path| path.to_string_lossy()));
    let parameters = match shown.as_str() {
        "" => listed,
        shown => format!("{listed}; bound where nodes cannot be opened: {shown}"),
    };
    // All paths are absolute: none was parsed that is not.
    (parameters, Arc::new(Nodes::granting(devices).binding(paths).unwrap_or_default()))
}

/// The one handler of the families that are about executions.
fn executions(grants: &Grants, values: &BTreeMap<Field, String>) -> Arc<dyn Handler> {
    let alerting = Executions::new().alerting(grants.exec_alert.iter().map(|glob| glob.pattern().clone()));
    let handler = match &grants.exec_delay {
        Some(grant) => alerting.delaying(grant.path.pattern().clone(), grant.delay.0),
        None => alerting,
    };
    Arc::new(match start_delay(grants, values) {
        Some(delay) => handler.starting_late(delay.0),
        None => handler,
    })
}

/// How late a container starts. One whose name is not known is taken for no sidecar.
fn start_delay(grants: &Grants, values: &BTreeMap<Field, String>) -> Option<Delay> {
    let grant = grants.start_delay.as_ref()?;
    let name = values.get(&Field::Container);
    let is_sidecar = name.is_some_and(|name| grant.sidecars.iter().any(|sidecar| sidecar.matches(name)));
    (!is_sidecar).then_some(grant.delay)
}

fn owners(grant: &OwnerGrant) -> (String, Arc<dyn Handler>) {
    let text = |ids: &[crate::numbers::Ids]| match joined(ids.iter().map(|ids| &ids.text)) {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    };
    let numbers = |ids: &[crate::numbers::Ids]| ids.iter().map(|ids| ids.range.clone()).collect::<Numbers>();
    let parameters = format!("users {}; groups {}", text(&grant.users), text(&grant.groups));
    (parameters, Arc::new(Owners::granting(numbers(&grant.users), numbers(&grant.groups))))
}

fn openings(grants: &Grants) -> (String, Arc<dyn Handler>) {
    let files = grants.open.iter().map(|grant| HostFile {
        path: grant.path.value.0.clone(),
        host: grant.host.as_ref().unwrap_or(&grant.path.value).0.clone(),
        read_only: !grant.writable,
    });
    let shown = files.clone().map(|file| {
        let lossy = |path: &CString| path.to_string_lossy().into_owned();
        let host =
            if file.host == file.path { String::new() } else { format!(" from {}", lossy(&file.host)) };
        let access = if file.read_only { "" } else { " writable" };
        format!("{}{host}{access}", lossy(&file.path))
    });
    let parameters = joined(shown);
    // All paths are absolute: none was parsed that is not.
    (parameters, Arc::new(Openings::granting(files.collect()).unwrap_or_default()))
}

/// What an answer is called, who gives it, and whether it decides anything that a record could be of.
fn answer(answer: Answer) -> (String, Arc<dyn Handler>, bool) {
    let (parameters, answer) = match answer {
        Answer::Continue => ("continue".to_owned(), AnyCall::Continue),
        Answer::Log => ("log".to_owned(), AnyCall::Log),
        Answer::Kill => ("kill".to_owned(), AnyCall::Kill),
        Answer::Delay(delay) => (format!("delay {:?}", delay.0), AnyCall::Delay(delay.0)),
        Answer::Errno(error) => (format!("errno {}", error.name()), AnyCall::Errno(error.0)),
        Answer::Return(value) => (format!("return {value}"), AnyCall::Return(value)),
        Answer::KillContainer => {
            return ("kill the container".to_owned(), Arc::new(KillContainer::new()), true);
        }
        Answer::Freeze(error) => {
            let parameters = format!("freeze the container, then errno {}", error.name());
            return (parameters, Arc::new(Freeze::failing_with(error.0)), true);
        }
    };
    (parameters, Arc::new(answer), answer != AnyCall::Continue)
}

fn joined<S: ToString>(items: impl Iterator<Item = S>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
