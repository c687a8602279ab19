use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use seccomp_agent_handlers::{AnyCall, Audit};
use seccomp_agent_registry::{Container, Errno, Registry};
use serde::Deserialize;

use crate::effect::{Effect, Family, RequestError, effects, fulfil};
use crate::explanation::{Decided, Explanation, Granted, Tried};
use crate::fault::Fault;
use crate::identity::identity;
use crate::request::{Key, requests};
use crate::rule::Rule;
use crate::template::RenderError;
use crate::watch::{Watch, watch};

/// What an administrator grants to which container.
#[derive(Clone, Debug)]
pub struct Policy(Document);

/// Which handlers a container gets, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// The handlers.
    pub registry: Registry,
    /// What is recorded; nothing of it is attached to the handlers yet.
    pub watch: Watch,
    /// Whether Falco is to be told of each notified call; nothing of that is around the handlers yet.
    pub falco: bool,
    /// Why.
    pub explanation: Explanation,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("the policy {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the policy {} has more than {MAX_POLICY} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no policy.
    #[error("{}:{fault}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        fault: Fault,
    },
}

/// Why a container gets no handlers although a rule is for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It asks for something impossible.
    #[error("rule {rule:?}: {request}: {source}")]
    Request {
        /// The rule that honours it.
        rule: String,
        /// What is asked for.
        request: String,
        /// What is wrong with it.
        source: RequestError,
    },
    /// A template gives no name for it.
    #[error("rule {rule:?}: directories: {source}")]
    Template {
        /// The rule that matched.
        rule: String,
        /// What is wrong.
        source: RenderError,
    },
}

/// The largest policy; a larger file is something else.
const MAX_POLICY: u64 = 1024 * 1024;

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "seccomp-agent policy"))]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// The version of this format: 1.
    #[allow(dead_code)] // There is only one; parsing has checked it.
    version: Version,
    /// What becomes of notified calls of containers that no rule is for.
    #[serde(default)]
    otherwise: Otherwise,
    /// The rules. The first that matches a container is the one that counts.
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "u32", extend("const" = 1)))]
#[serde(try_from = "u32")]
struct Version;

/// What becomes of notified calls of containers that no rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum Otherwise {
    /// They continue: the kernel does what it would do without an agent.
    #[default]
    Continue,
    /// They fail with EPERM.
    Refuse,
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == 1 { Ok(Self) } else { Err(format!("version {version} is not supported, only 1 is")) }
    }
}

impl Policy {
    /// Reads a policy from a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let failed = |source| PolicyError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(MAX_POLICY + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_POLICY {
            return Err(PolicyError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text).map_err(|fault| PolicyError::Invalid { path: path.to_owned(), fault })
    }

    /// Parses a policy.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut path = String::new();
        let document: Document = serde_saphyr::with_deserializer_from_str(text, |document| {
            serde_path_to_error::deserialize(document).map_err(|error| {
                path = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| Fault::parsing(&error, &path))?;
        document.check()?;
        Ok(Self(document))
    }

    /// How many rules there are.
    pub const fn rules(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether the runtime matters, which an agent then has to find out: a rule looks at it, or it is to be recorded.
    pub fn asks_for_runtime(&self) -> bool {
        self.records() || self.0.rules.iter().any(|rule| rule.r#match.asks_for_runtime())
    }

    /// Whether what `container` gets rests on what only the cluster knows of its pod: labels, service account, owner, the
    /// image as it was resolved, the pod's annotations, and what the runtime has not said. A rule that is not for it
    /// whatever its pod is does not count, nor do those after one that is for it.
    pub fn asks_for_pod(&self, container: &Container) -> bool {
        for rule in &self.0.rules {
            match rule.r#match.is_certainly_for(container) {
                Some(false) => {}
                Some(true) => return rule.honour.asks_for_pod(),
                None => return true,
            }
        }
        false
    }

    /// Whether containers may be recorded.
    pub fn records(&self) -> bool {
        self.0.rules.iter().any(Rule::records)
    }

    /// Which handlers `container` gets, and why.
    pub fn resolve(&self, container: &Container) -> Result<Resolved, ResolveError> {
        let mut tried = Vec::new();
        for rule in &self.0.rules {
            let mismatch = rule.r#match.mismatch(container);
            let matches = mismatch.is_none();
            tried.push(Tried { rule: rule.name.value.0.clone(), mismatch });
            if matches {
                return rule_resolved(rule, container, tried);
            }
        }
        let mut registry = Registry::new();
        if self.0.otherwise == Otherwise::Refuse {
            registry.otherwise(AnyCall::Errno(Errno::PERM)).layer(&Audit::of(container));
        }
        let otherwise = match self.0.otherwise {
            Otherwise::Continue => Decided::Continue,
            Otherwise::Refuse => Decided::Refuse,
        };
        let (requests, _none) = requests(container, |_, _, _| false);
        let explanation = Explanation { requests, ..Explanation::of(container, tried, otherwise) };
        Ok(Resolved { registry, watch: Watch::default(), falco: false, explanation })
    }
}

fn rule_resolved(rule: &Rule, container: &Container, tried: Vec<Tried>) -> Result<Resolved, ResolveError> {
    let name = &rule.name.value.0;
    let (requests, honoured) = requests(container, |source, key, value| {
        rule.honour.honours(source, key) || (key.only_restricts() && value == "true")
    });
    let mut grants = rule.grant.clone();
    let impossible = |(request, source)| ResolveError::Request { rule: name.clone(), request, source };
    let origins = fulfil(&mut grants, &honoured).map_err(impossible)?;
    let (watch, recordings) = watch(rule, &honoured, container).map_err(impossible)?;
    let asked = [Key::DefaultAction, Key::Complain].iter().find_map(|key| honoured.get(key));
    if let (Some((_, request)), true, true) = (asked, grants.otherwise.is_some(), watch.complain.is_some()) {
        return Err(impossible((request.clone(), RequestError::Taken)));
    }
    let effects = effects(&grants, &identity(container))
        .map_err(|source| ResolveError::Template { rule: name.clone(), source })?;
    let asked = |effect: &Effect| {
        let family = Family::ALL.into_iter().find(|family| family.name() == effect.name)?;
        origins.get(&family).map(|requests| requests.join(", "))
    };
    let handlers = effects.iter().map(|effect| Granted {
        handler: effect.name,
        calls: effect.calls.clone(),
        parameters: effect.parameters.clone(),
        by: asked(effect).unwrap_or_else(|| "rule".to_owned()),
    });
    let handlers = handlers.collect();
    let mut registry = Registry::new();
    let (deciding, others): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.decides);
    answer_by(&mut registry, &deciding);
    registry.layer(&Audit::of(container));
    answer_by(&mut registry, &others);
    let otherwise = match () {
        () if grants.otherwise.is_some() => Decided::Answered,
        () if watch.deny => Decided::Refuse,
        () => Decided::Continue,
    };
    let explanation = Explanation {
        rule: Some(name.clone()),
        handlers,
        recordings,
        requests,
        ..Explanation::of(container, tried, otherwise)
    };
    Ok(Resolved { registry, watch, falco: grants.falco, explanation })
}

fn answer_by(registry: &mut Registry, effects: &[Effect]) {
    for effect in effects {
        for call in &effect.calls {
            // One that this machine lacks is none that a container can make.
            let _ = registry.on_shared(call, &effect.handler);
        }
        if effect.is_for_others() {
            registry.otherwise_shared(&effect.handler);
        }
    }
}

impl Document {
    /// What no single field shows: rules of the same name, nodes of no device, files that are listed twice, and calls that two handlers would answer.
    fn check(&self) -> Result<(), Fault> {
        let mut names = BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(first) = names.insert(&rule.name.value, index) {
                let message = format!("rules[{first}] has the name {:?} already", rule.name.value.0);
                return Err(Fault::new(rule.name.referenced, format!("rules[{index}].name"), message));
            }
            check_host_nodes(rule, index)?;
            check_open(rule, index)?;
            check_calls(rule, index)?;
            if rule.grant.otherwise.is_some() && rule.complain.is_some() {
                let message = "complain is about the calls that otherwise answers".to_owned();
                let field = format!("rules[{index}].grant.otherwise");
                return Err(Fault::new(rule.name.referenced, field, message));
            }
        }
        Ok(())
    }
}

fn check_host_nodes(rule: &Rule, index: usize) -> Result<(), Fault> {
    match rule.grant.host_nodes.first() {
        Some(path) if rule.grant.nodes.is_empty() => {
            let message = "nodes lists no device that it could be bound for".to_owned();
            Err(Fault::new(path.referenced, format!("rules[{index}].grant.host-nodes[0]"), message))
        }
        _ => Ok(()),
    }
}

fn check_open(rule: &Rule, index: usize) -> Result<(), Fault> {
    let mut seen = BTreeMap::new();
    for (number, file) in rule.grant.open.iter().enumerate() {
        if let Some(first) = seen.insert(&file.path.value.0, number) {
            let message = format!("open[{first}] is about {:?} already", file.path.value.0);
            let field = format!("rules[{index}].grant.open[{number}].path");
            return Err(Fault::new(file.path.referenced, field, message));
        }
    }
    Ok(())
}

fn check_calls(rule: &Rule, index: usize) -> Result<(), Fault> {
    let mut taken = BTreeMap::new();
    let granted = Family::ALL.into_iter().filter(|family| family.is_in(&rule.grant));
    for family in granted.chain(rule.honour.keys().filter_map(Family::of)) {
        taken.extend(family.calls().iter().map(|call| (*call, family.name())));
    }
    for (number, grant) in rule.grant.calls.iter().enumerate() {
        if grant.names.is_empty() {
            let field = format!("rules[{index}].grant.calls[{number}].names");
            return Err(Fault::new(rule.name.referenced, field, "it names no call".to_owned()));
        }
        for (position, name) in grant.names.iter().enumerate() {
            if let Some(other) = taken.insert(name.value.name(), "calls") {
                let message = format!("{} is answered by {other} already", name.value.name());
                let field = format!("rules[{index}].grant.calls[{number}].names[{position}]");
                return Err(Fault::new(name.referenced, field, message));
            }
        }
    }
    Ok(())
}
