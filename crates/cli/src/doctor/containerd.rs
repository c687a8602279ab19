use super::{Finding, Node};

const CHECK: &str = "containerd";
const CONFIGURATION: &str = "/etc/containerd/config.toml";
const MEND: &str = "to match pods by their own annotations without an API server, add to the runtime's table in \
    /etc/containerd/config.toml: pod_annotations = [\"*\", \"*/*\"] and container_annotations = [\"*\", \"*/*\"], and restart \
    containerd";

/// Whether containerd tells the agent of annotations, and drives cgroups as the kubelet does.
pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let Some(text) = node.read(CONFIGURATION) else {
        return Vec::new();
    };
    let mut findings = vec![annotations(&text)];
    findings.extend(super::kubelet::cgroup_driver(node).map(|driver| cgroups(&text, &driver)));
    findings
}

fn annotations(text: &str) -> Finding {
    let missing: Vec<_> =
        ["pod_annotations", "container_annotations"].into_iter().filter(|key| !passes(text, key)).collect();
    if missing.is_empty() {
        Finding::ok(CHECK, "passes annotations on, those with a slash in their name too")
    } else {
        Finding::note(CHECK, format!("does not pass all annotations on: {}", missing.join(", ")), MEND)
    }
}

/// Whether a list of patterns has one for names with a slash, which `*` does not match.
fn passes(text: &str, key: &str) -> bool {
    values(text, key).iter().any(|list| {
        list.split(['"', '\'']).any(|pattern| {
            pattern.contains('/') && (pattern.contains('*') || pattern.starts_with("seccomp-agent/"))
        })
    })
}

fn cgroups(text: &str, kubelet: &str) -> Finding {
    let systemd = values(text, "SystemdCgroup").iter().any(|value| value.trim() == "true");
    let containerd = if systemd { "systemd" } else { "cgroupfs" };
    if containerd == kubelet {
        Finding::ok(CHECK, format!("its cgroup driver is the kubelet's, {kubelet}"))
    } else {
        Finding::wrong(
            CHECK,
            format!(
                "its cgroup driver is {containerd}, the kubelet's is {kubelet}: pods are not told apart by cgroups"
            ),
            format!("SystemdCgroup = {} in the options of the runtime in {CONFIGURATION}", !systemd),
        )
    }
}

/// The values of a key, wherever it is: tables of several runtimes have it. A list may go over lines.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        begin += line.len();
        let Some(tail) = line.trim_start().strip_prefix(key) else { continue };
        let Some(value) = tail.trim_start().strip_prefix('=') else { continue };
        let rest = &text[begin - value.len()..];
        let end = if rest.trim_start().starts_with('[') { rest.find(']') } else { rest.find('\n') };
        found.push(&rest[..end.unwrap_or(rest.len())]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const RUNTIME: &str = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n";

    #[test]
    fn lists_of_annotations_are_found_wherever_they_are() {
        for (text, state) in [
            ("pod_annotations = ['*', '*/*']\ncontainer_annotations = [\"*\", \"*/*\"]\n", State::Ok),
            (
                "  pod_annotations=[\n    \"*\",\n    \"*/*\"\n  ]\n  container_annotations = ['seccomp-agent/*']",
                State::Ok,
            ),
            ("pod_annotations = ['*']\ncontainer_annotations = ['*']\n", State::Note),
            ("pod_annotations = ['*/*']\n", State::Note),
            ("# pod_annotations = ['*/*']\n# container_annotations = ['*/*']\n", State::Note),
            ("", State::Note),
        ] {
            assert_eq!(annotations(&format!("version = 3\n{RUNTIME}{text}")).state, state, "{text}");
        }
    }

    #[test]
    fn two_cgroup_drivers_are_told() {
        assert_eq!(cgroups("SystemdCgroup = true\n", "systemd").state, State::Ok);
        assert_eq!(cgroups("SystemdCgroup = false", "systemd").state, State::Wrong);
        assert_eq!(cgroups("", "cgroupfs").state, State::Ok);
    }
}
