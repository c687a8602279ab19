use crate::action::{Action, DEFAULT_ERRNO};
use crate::condition::{Comparison, Condition};
use crate::error::ParseError;
use crate::profile::{Flag, Profile, Rule};
use seccomp_agent_syscall::Arch;
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The largest profile that is read. The default profiles of the engines have 20 KB, a container's whole
/// configuration rarely 100 KB; the kernel takes 4,096 instructions, so what is larger than this cannot be loaded.
pub const MAX_PROFILE_BYTES: usize = 4 << 20;

impl Profile {
    /// Reads a profile: `linux.seccomp` of the OCI runtime specification, or a whole `config.json` that has one.
    ///
    /// Unknown fields are errors, since a runtime ignores them and so loads another profile than its author meant.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_PROFILE_BYTES {
            return Err(ParseError::TooLarge { size: bytes.len() });
        }
        if is_container_configuration(bytes) {
            let configuration: Configuration = read(bytes)?;
            return configuration.linux.and_then(|linux| linux.seccomp).ok_or(ParseError::NoProfile);
        }
        read(bytes)
    }

    /// Writes the profile as `linux.seccomp` of the OCI runtime specification, indented.
    #[expect(clippy::expect_used, reason = "nothing in a profile can fail to be written")]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("only a map with keys that are no strings cannot be written")
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ParseError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| ParseError::at(error.path(), error.inner()))?;
    json.end().map_err(|error| ParseError::at(&serde_path_to_error::Track::new().path(), &error))?;
    Ok(value)
}

/// A container's configuration has `linux`, and `ociVersion` by the specification; a profile has neither.
fn is_container_configuration(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        oci_version: Option<IgnoredAny>,
        linux: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Probe>(bytes)
        .is_ok_and(|probe| probe.oci_version.is_some() || probe.linux.is_some())
}

#[derive(Deserialize)]
struct Configuration {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    seccomp: Option<Profile>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawProfile {
    default_action: RawAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<RawArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<Flag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscalls: Option<Vec<Rule>>,
    #[serde(default, skip_serializing)]
    arch_map: Unresolved,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawRule {
    names: Vec<String>,
    action: RawAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Condition>>,
    #[serde(default, skip_serializing)]
    includes: Unresolved,
    #[serde(default, skip_serializing)]
    excludes: Unresolved,
    /// Docker's; it says nothing to the kernel.
    #[serde(default, skip_serializing)]
    #[allow(dead_code, reason = "taken from the input so that it is no unknown field")]
    comment: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawCondition {
    index: u8,
    value: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: RawComparison,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum RawAction {
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_KILL_THREAD", alias = "SCMP_ACT_KILL")]
    KillThread,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

#[derive(Serialize, Deserialize)]
enum RawComparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// An architecture that has a name there; [`Arch::Unknown`] means nothing in a profile.
struct RawArch(Arch);

/// A field by which a container engine chooses what to write into the runtime's profile. Empty, it says nothing.
#[derive(Default)]
struct Unresolved;

impl TryFrom<RawProfile> for Profile {
    type Error = String;

    fn try_from(raw: RawProfile) -> Result<Self, String> {
        let RawProfile { arch_map: Unresolved, .. } = raw;
        Ok(Self {
            default_action: action(raw.default_action, raw.default_errno_ret, "defaultErrnoRet")?,
            architectures: raw.architectures.unwrap_or_default().into_iter().map(|arch| arch.0).collect(),
            flags: raw.flags,
            listener_path: raw.listener_path,
            listener_metadata: raw.listener_metadata,
            rules: raw.syscalls.unwrap_or_default(),
        })
    }
}

impl From<Profile> for RawProfile {
    fn from(profile: Profile) -> Self {
        let (default_action, default_errno_ret) = raw_action(profile.default_action);
        let architectures: Vec<_> =
            profile.architectures.into_iter().filter(|arch| arch.oci_name().is_some()).map(RawArch).collect();
        Self {
            default_action,
            default_errno_ret,
            architectures: (!architectures.is_empty()).then_some(architectures),
            flags: profile.flags,
            listener_path: profile.listener_path,
            listener_metadata: profile.listener_metadata,
            syscalls: (!profile.rules.is_empty()).then_some(profile.rules),
            arch_map: Unresolved,
        }
    }
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let RawRule { includes: Unresolved, excludes: Unresolved, .. } = raw;
        if raw.names.iter().any(String::is_empty) {
            return Err("an empty name is no system call".to_owned());
        }
        Ok(Self {
            names: raw.names,
            action: action(raw.action, raw.errno_ret, "errnoRet")?,
            conditions: raw.args.unwrap_or_default(),
        })
    }
}

impl From<Rule> for RawRule {
    fn from(rule: Rule) -> Self {
        let (action, errno_ret) = raw_action(rule.action);
        Self {
            names: rule.names,
            action,
            errno_ret,
            args: (!rule.conditions.is_empty()).then_some(rule.conditions),
            includes: Unresolved,
            excludes: Unresolved,
            comment: None,
        }
    }
}

impl TryFrom<RawCondition> for Condition {
    type Error = String;

    fn try_from(raw: RawCondition) -> Result<Self, String> {
        let value = raw.value;
        let comparison = match raw.op {
            RawComparison::NotEqual => Comparison::NotEqual(value),
            RawComparison::Less => Comparison::Less(value),
            RawComparison::LessOrEqual => Comparison::LessOrEqual(value),
            RawComparison::Equal => Comparison::Equal(value),
            RawComparison::GreaterOrEqual => Comparison::GreaterOrEqual(value),
            RawComparison::Greater => Comparison::Greater(value),
            RawComparison::MaskedEqual => {
                Comparison::MaskedEqual { mask: value, value: raw.value_two.unwrap_or_default() }
            }
        };
        Condition::new(raw.index, comparison)
            .ok_or_else(|| format!("index {}: a system call has the arguments 0 to 5", raw.index))
    }
}

impl From<Condition> for RawCondition {
    fn from(condition: Condition) -> Self {
        let (op, value, value_two) = match condition.comparison() {
            Comparison::NotEqual(value) => (RawComparison::NotEqual, value, None),
            Comparison::Less(value) => (RawComparison::Less, value, None),
            Comparison::LessOrEqual(value) => (RawComparison::LessOrEqual, value, None),
            Comparison::Equal(value) => (RawComparison::Equal, value, None),
            Comparison::GreaterOrEqual(value) => (RawComparison::GreaterOrEqual, value, None),
            Comparison::Greater(value) => (RawComparison::Greater, value, None),
            Comparison::MaskedEqual { mask, value } => (RawComparison::MaskedEqual, mask, Some(value)),
        };
        Self { index: condition.argument(), value, value_two, op }
    }
}

/// The limit is libseccomp's (`sys_chk_seccomp_action`): the kernel would silently lower a greater errno.
const ERRNOS: u16 = 4095;

fn action(raw: RawAction, errno: Option<u16>, field: &str) -> Result<Action, String> {
    Ok(match (raw, errno) {
        (RawAction::Errno, Some(errno)) if errno >= ERRNOS => {
            return Err(format!("{field} {errno} is no errno: they are below {ERRNOS}"));
        }
        (RawAction::Errno, errno) => Action::Errno(errno.unwrap_or(DEFAULT_ERRNO)),
        (RawAction::Trace, message) => Action::Trace(message.unwrap_or(DEFAULT_ERRNO)),
        (_, Some(_)) => {
            return Err(format!("{field} is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE only"));
        }
        (RawAction::KillProcess, None) => Action::KillProcess,
        (RawAction::KillThread, None) => Action::KillThread,
        (RawAction::Trap, None) => Action::Trap,
        (RawAction::Notify, None) => Action::Notify,
        (RawAction::Log, None) => Action::Log,
        (RawAction::Allow, None) => Action::Allow,
    })
}

fn raw_action(action: Action) -> (RawAction, Option<u16>) {
    match action {
        Action::KillProcess => (RawAction::KillProcess, None),
        Action::KillThread => (RawAction::KillThread, None),
        Action::Trap => (RawAction::Trap, None),
        Action::Errno(errno) => (RawAction::Errno, Some(errno)),
        Action::Notify => (RawAction::Notify, None),
        Action::Trace(message) => (RawAction::Trace, Some(message)),
        Action::Log => (RawAction::Log, None),
        Action::Allow => (RawAction::Allow, None),
    }
}

impl Serialize for RawArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.oci_name().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for RawArch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Arch::from_oci_name(&name).map(RawArch).ok_or_else(|| {
            let known: Vec<_> =
                Arch::all().filter_map(Arch::oci_name).map(|name| format!("`{name}`")).collect();
            D::Error::custom(format_args!("unknown variant `{name}`, expected one of {}", known.join(", ")))
        })
    }
}

impl<'de> Deserialize<'de> for Unresolved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const TRAP: &str = "a runtime ignores this field, so the profile would mean something else to it: \
                            write down what the engine makes of it for this machine and these capabilities";
        struct Empty;
        impl<'de> Visitor<'de> for Empty {
            type Value = Unresolved;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing, since a runtime ignores this field")
            }

            fn visit_unit<E: Error>(self) -> Result<Unresolved, E> {
                Ok(Unresolved)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unresolved, A::Error> {
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(Unresolved),
                    Some(_) => Err(A::Error::custom(TRAP)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unresolved, A::Error> {
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Unresolved),
                    Some(_) => Err(A::Error::custom(TRAP)),
                }
            }
        }
        deserializer.deserialize_any(Empty)
    }
}
