use std::path::Path;

use toml::{Table, Value};

use super::{Finding, Node};

const CHECK: &str = "containerd";
const CONFIGURATION: &str = "/etc/containerd/config.toml";
const MEND: &str = "to match pods by their own annotations without an API server, add to the runtime's table in containerd's \
    configuration: pod_annotations = [\"*\", \"*/*\"] and container_annotations = [\"*\", \"*/*\"], and restart containerd";

/// A runtime that containerd's configuration names.
struct Runtime {
    name: String,
    table: Table,
}

/// Whether containerd tells the agent of annotations, and drives cgroups as the kubelet does.
pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let Some(text) = node.read(CONFIGURATION) else {
        return Vec::new();
    };
    let configuration: Table = match text.parse() {
        Ok(configuration) => configuration,
        Err(error) => {
            let found = format!("{CONFIGURATION}: {}", toml::de::Error::message(&error));
            return vec![Finding::wrong(CHECK, found, "containerd does not start with it")];
        }
    };
    let mut runtimes = runtimes(&configuration);
    for file in imports(&configuration) {
        let imported = node.read(&file).and_then(|text| text.parse::<Table>().ok());
        runtimes.extend(imported.iter().flat_map(self::runtimes));
    }
    if runtimes.is_empty() {
        let found = format!("{CONFIGURATION} has no table of a runtime: containerd's defaults hold");
        return vec![Finding::note(CHECK, found, MEND)];
    }
    let driver = super::kubelet::cgroup_driver(node);
    let of = |runtime: &Runtime| {
        std::iter::once(annotations(runtime)).chain(driver.as_deref().map(|driver| cgroups(runtime, driver)))
    };
    runtimes.iter().flat_map(|runtime| of(runtime).collect::<Vec<_>>()).collect()
}

/// Of all versions of the configuration: the plugin that has them has another name in each.
fn runtimes(configuration: &Table) -> Vec<Runtime> {
    let plugins = configuration.get("plugins").and_then(Value::as_table);
    let plugins = plugins.into_iter().flat_map(Table::values);
    let tables = plugins.filter_map(|plugin| plugin.get("containerd")?.get("runtimes")?.as_table());
    let named = tables.flat_map(|table| table.iter());
    named
        .filter_map(|(name, table)| Some(Runtime { name: name.clone(), table: table.as_table()?.clone() }))
        .collect()
}

/// The files that are read besides, but for patterns.
fn imports(configuration: &Table) -> Vec<String> {
    let imports = configuration.get("imports").and_then(Value::as_array);
    let names = imports.into_iter().flatten().filter_map(Value::as_str);
    let absolute = |name: &&str| Path::new(name).is_absolute() && !name.contains(['*', '?', '[']);
    names.filter(absolute).map(str::to_owned).collect()
}

fn annotations(runtime: &Runtime) -> Finding {
    let missing: Vec<_> =
        ["pod_annotations", "container_annotations"].into_iter().filter(|key| !runtime.passes(key)).collect();
    let name = &runtime.name;
    if missing.is_empty() {
        Finding::ok(CHECK, format!("{name}: annotations are passed on, those with a slash in their name too"))
    } else {
        Finding::note(
            CHECK,
            format!("{name}: not all annotations are passed on: {}", missing.join(", ")),
            MEND,
        )
    }
}

impl Runtime {
    /// Whether a list of patterns has one for names with a slash, which `*` does not match.
    fn passes(&self, key: &str) -> bool {
        let patterns = self.table.get(key).and_then(Value::as_array).into_iter().flatten();
        patterns.filter_map(Value::as_str).any(|pattern| {
            pattern.contains('/') && (pattern.contains('*') || pattern.starts_with("seccomp-agent/"))
        })
    }

    fn has_systemd_cgroups(&self) -> bool {
        let options = self.table.get("options");
        options.and_then(|options| options.get("SystemdCgroup")?.as_bool()).unwrap_or(false)
    }
}

fn cgroups(runtime: &Runtime, kubelet: &str) -> Finding {
    let (name, systemd) = (&runtime.name, runtime.has_systemd_cgroups());
    let containerd = if systemd { "systemd" } else { "cgroupfs" };
    if containerd == kubelet {
        return Finding::ok(CHECK, format!("{name}: its cgroup driver is the kubelet's, {kubelet}"));
    }
    let found = format!(
        "{name}: its cgroup driver is {containerd}, the kubelet's is {kubelet}: pods are not told apart by cgroups"
    );
    Finding::wrong(CHECK, found, format!("SystemdCgroup = {} in the options of that runtime", !systemd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn runtime(text: &str) -> Runtime {
        let text = format!("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n{text}");
        runtimes(&text.parse().unwrap()).remove(0)
    }

    #[test]
    fn annotations_have_to_be_passed_on_with_a_slash_in_their_name() {
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
            assert_eq!(annotations(&runtime(text)).state, state, "{text}");
        }
    }

    #[test]
    fn two_cgroup_drivers_are_told() {
        for (options, kubelet, state) in [
            ("options.SystemdCgroup = true", "systemd", State::Ok),
            ("options.SystemdCgroup = false", "systemd", State::Wrong),
            ("", "cgroupfs", State::Ok),
            ("", "systemd", State::Wrong),
        ] {
            assert_eq!(cgroups(&runtime(options), kubelet).state, state, "{options} {kubelet}");
        }
    }

    #[test]
    fn each_runtime_is_looked_at_wherever_it_is_configured() {
        let root = tempfile::tempdir().unwrap();
        let node = Node { root: root.path().to_owned() };
        assert_eq!(findings(&node), []);
        let folder = root.path().join("etc/containerd");
        std::fs::create_dir_all(&folder).unwrap();
        let all = "pod_annotations = ['*/*']\ncontainer_annotations = ['*/*']\n";
        let table =
            |name: &str| format!("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}]\n");
        let main = format!("imports = ['/etc/containerd/crun.toml']\n{}{all}", table("runc"));
        for (main, imported, expected) in [
            (main.as_str(), table("crun"), &[("runc: ann", State::Ok), ("crun: not", State::Note)][..]),
            ("version = 3\n", String::new(), &[("no table", State::Note)]),
            ("version = \n", String::new(), &[("config.toml", State::Wrong)]),
        ] {
            std::fs::write(folder.join("config.toml"), main).unwrap();
            std::fs::write(folder.join("crun.toml"), imported).unwrap();
            let found = findings(&node);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, (words, state)) in found.iter().zip(expected) {
                assert!(finding.found.contains(words) && finding.state == *state, "{finding:?}");
            }
        }
    }
}
