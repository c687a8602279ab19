use std::fmt;
use std::path::{Path, PathBuf};

use seccomp_agent_profile::{Action, Profile};
use serde::Deserialize;

use super::{Finding, Node, read};

const CHECK: &str = "kubelet";
/// Where kubeadm and most distributions have the kubelet's configuration.
const CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";
/// How deep profiles are looked for, and how many: more is nobody's directory of profiles.
const MAX_DEPTH: u32 = 4;
const MAX_FILES: usize = 1000;

/// How the kubelet's configuration has it drive cgroups.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CgroupDriver {
    /// By the driver of this name.
    Said(String),
    /// It says nothing.
    Unsaid,
}

/// Whether the kubelet has a directory of profiles, and whether those there lead to the agent.
pub(super) fn findings(node: &Node, directory: &Path, socket: &Path) -> Vec<Finding> {
    if !node.path(Path::new("/var/lib/kubelet")).exists() {
        return Vec::new();
    }
    let here = node.path(directory);
    let shown = directory.display();
    if !here.is_dir() {
        return vec![Finding::wrong(
            CHECK,
            format!("{shown} is not there: pods with a profile of the type Localhost do not start"),
            format!("mkdir -p {shown}, or name the kubelet's --seccomp-profile-root by --kubelet-seccomp"),
        )];
    }
    let mut files = Vec::new();
    collect(&here, MAX_DEPTH, &mut files);
    let wrong: Vec<_> = files.iter().filter_map(|file| of(file, &here, socket)).collect();
    if wrong.is_empty() {
        vec![Finding::ok(CHECK, format!("{shown} has {} profiles", files.len()))]
    } else {
        wrong
    }
}

/// The cgroup driver of the kubelet, if its configuration can be read.
pub(super) fn cgroup_driver(node: &Node) -> Option<CgroupDriver> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Configuration {
        cgroup_driver: Option<String>,
    }
    let read: Configuration = serde_saphyr::from_str(&node.read(CONFIGURATION)?).ok()?;
    Some(read.cgroup_driver.map_or(CgroupDriver::Unsaid, CgroupDriver::Said))
}

impl CgroupDriver {
    /// Its name; the default (`kubelet.config.k8s.io/v1beta1`) where nothing is said.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Said(name) => name,
            Self::Unsaid => "cgroupfs",
        }
    }
}

impl fmt::Display for CgroupDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(name) => write!(f, "the kubelet's configuration says {name}"),
            Self::Unsaid => write!(f, "the kubelet's configuration says none, which is {}", self.name()),
        }
    }
}

fn collect(directory: &Path, depth: u32, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if depth > 0 && path.is_dir() {
            collect(&path, depth - 1, files);
        } else if path.extension().is_some_and(|extension| extension == "json") && files.len() < MAX_FILES {
            files.push(path);
        }
    }
}

/// What is wrong with a profile, if anything.
fn of(path: &Path, root: &Path, socket: &Path) -> Option<Finding> {
    let name = path.strip_prefix(root).unwrap_or(path).display();
    // What is told of recordings is beside the profiles, and none.
    if path.to_string_lossy().ends_with(".provenance.json") {
        return None;
    }
    let wrong =
        |found: &str, mend: String| Some(Finding::wrong(CHECK, format!("profile {name}: {found}"), mend));
    let Some(text) = read(path) else {
        return wrong("it cannot be read", format!("look at {}", path.display()));
    };
    let profile = match Profile::from_json(text.as_bytes()) {
        Ok(profile) => profile,
        Err(error) => return wrong(&error.to_string(), "pods with it do not start".to_owned()),
    };
    let is_notify = |action: Action| action == Action::Notify;
    if !is_notify(profile.default_action) && !profile.rules.iter().any(|rule| is_notify(rule.action)) {
        return None;
    }
    match &profile.listener_path {
        None => wrong(
            "it notifies calls, and names no agent",
            format!("\"listenerPath\": \"{}\"", socket.display()),
        ),
        Some(path) if Path::new(path) != socket => Some(Finding::note(
            CHECK,
            format!("profile {name}: its agent is at {path}"),
            format!("nothing, if that is meant; this agent is at {}", socket.display()),
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn profiles_that_lead_nowhere_are_named() {
        let root = tempfile::tempdir().unwrap();
        let node = Node { root: root.path().to_owned() };
        let directory = Path::new("/var/lib/kubelet/seccomp");
        let of = || findings(&node, directory, Path::new("/run/s"));
        assert_eq!(of(), []);
        std::fs::create_dir_all(root.path().join("var/lib/kubelet")).unwrap();
        assert_eq!(of()[0].state, State::Wrong);
        let here = root.path().join("var/lib/kubelet/seccomp/team");
        std::fs::create_dir_all(&here).unwrap();
        let rules = r#""syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]"#;
        for (text, state, words) in [
            (
                format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/s", {rules}}}"#),
                State::Ok,
                "1 profiles",
            ),
            (
                format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {rules}}}"#),
                State::Wrong,
                "team/p.json: it notifies",
            ),
            (
                format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/t", {rules}}}"#),
                State::Note,
                "/run/t",
            ),
            ("{".to_owned(), State::Wrong, "team/p.json"),
            (r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#.to_owned(), State::Ok, "1 profiles"),
        ] {
            std::fs::write(here.join("p.json"), &text).unwrap();
            let found = of();
            assert!(
                found.len() == 1 && found[0].state == state && found[0].found.contains(words),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn the_cgroup_driver_is_read_from_its_configuration() {
        let root = tempfile::tempdir().unwrap();
        let node = Node { root: root.path().to_owned() };
        assert_eq!(cgroup_driver(&node), None);
        std::fs::create_dir_all(root.path().join("var/lib/kubelet")).unwrap();
        let said = |driver: &str| Some(CgroupDriver::Said(driver.to_owned()));
        for (text, driver) in [
            ("kind: X\ncgroupDriver: systemd # as containerd's\n", said("systemd")),
            ("kind: X\ncgroupDriver: \"cgroupfs\"\n", said("cgroupfs")),
            ("kind: X\n", Some(CgroupDriver::Unsaid)),
            ("kind: [", None),
        ] {
            std::fs::write(root.path().join("var/lib/kubelet/config.yaml"), text).unwrap();
            assert_eq!(cgroup_driver(&node), driver, "{text}");
        }
    }
}
