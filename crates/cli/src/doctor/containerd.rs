use std::path::Path;

use toml::{Table, Value};

use super::kubelet::CgroupDriver;
use super::{Finding, Node};

const CHECK: &str = "containerd";
const CONFIGURATION: &str = "/etc/containerd/config.toml";
/// The shim that starts runc, or what is called as runc is. Others, such as those of kata and gVisor, hand no listeners over.
const RUNC: &str = "io.containerd.runc.v2";
const MEND_ANNOTATIONS: &str = "to match pods by their own annotations without an API server, add to the runtime's table in containerd's \
    configuration: pod_annotations = [\"*\", \"*/*\"] and container_annotations = [\"*\", \"*/*\"], and restart containerd";

/// A runtime of runc's kind that containerd's configuration names.
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
    let runtimes = runtimes(node, &configuration);
    if runtimes.is_empty() {
        let found = format!(
            "{CONFIGURATION} has no table of a runtime of the type {RUNC}: containerd's defaults hold"
        );
        return vec![Finding::note(CHECK, found, MEND_ANNOTATIONS)];
    }
    let driver = super::kubelet::cgroup_driver(node);
    let of = |runtime: &Runtime| {
        std::iter::once(annotations(runtime)).chain(driver.as_ref().map(|driver| cgroups(runtime, driver)))
    };
    runtimes.iter().flat_map(|runtime| of(runtime).collect::<Vec<_>>()).collect()
}

/// The programs that its runtimes name, if they are not those of the PATH.
pub(super) fn programs(node: &Node) -> Vec<String> {
    let configuration = node.read(CONFIGURATION).and_then(|text| text.parse().ok());
    let runtimes = configuration.map(|configuration| runtimes(node, &configuration)).unwrap_or_default();
    let options =
        |runtime: Runtime| Some(runtime.table.get("options")?.get("BinaryName")?.as_str()?.to_owned());
    runtimes.into_iter().filter_map(options).filter(|name| Path::new(name).is_absolute()).collect()
}

/// Those of the configuration and of the files that it imports.
fn runtimes(node: &Node, configuration: &Table) -> Vec<Runtime> {
    let imported = imports(configuration);
    let imported = imported.iter().filter_map(|file| node.read(file)?.parse::<Table>().ok());
    tables(configuration).into_iter().chain(imported.flat_map(|table| tables(&table))).collect()
}

/// Of all versions of the configuration: the plugin that has them has another name in each.
fn tables(configuration: &Table) -> Vec<Runtime> {
    let plugins = configuration.get("plugins").and_then(Value::as_table);
    let plugins = plugins.into_iter().flat_map(Table::values);
    let tables = plugins.filter_map(|plugin| plugin.get("containerd")?.get("runtimes")?.as_table());
    let named = tables.flat_map(|table| table.iter());
    let all = named
        .filter_map(|(name, table)| Some(Runtime { name: name.clone(), table: table.as_table()?.clone() }));
    all.filter(Runtime::is_like_runc).collect()
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
            MEND_ANNOTATIONS,
        )
    }
}

impl Runtime {
    fn is_like_runc(&self) -> bool {
        self.table.get("runtime_type").is_none_or(|shim| shim.as_str() == Some(RUNC))
    }

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

/// A kubelet of Kubernetes 1.31 or later asks containerd 2.0 or later for its driver, whatever its own configuration says, so
/// that two that differ are no fault by themselves. Neither keeps the agent from telling pods apart.
fn cgroups(runtime: &Runtime, kubelet: &CgroupDriver) -> Finding {
    const ASKED: &str = "nothing, if pods run: from Kubernetes 1.31 and containerd 2.0 on, the kubelet takes the driver of \
        containerd's default runtime. Else, on a drained node,";
    let (name, systemd) = (&runtime.name, runtime.has_systemd_cgroups());
    let containerd = if systemd { "systemd" } else { "cgroupfs" };
    if kubelet.name() == containerd {
        return Finding::ok(CHECK, format!("{name}: its cgroup driver is the kubelet's, {containerd}"));
    }
    let begin = format!("{name}: its cgroup driver is {containerd}, and {kubelet}:");
    if systemd {
        let found = format!("{begin} a kubelet that drives cgroups so starts no pod");
        return Finding::note(
            CHECK,
            found,
            format!("{ASKED} cgroupDriver: systemd in the kubelet's configuration"),
        );
    }
    let found = format!("{begin} under a kubelet that does, limits of pods do not hold for their containers");
    Finding::note(CHECK, found, format!("{ASKED} SystemdCgroup = true in the options of that runtime"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn runtime(text: &str) -> Runtime {
        let text = format!("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n{text}");
        tables(&text.parse().unwrap()).remove(0)
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
    fn two_cgroup_drivers_are_told_and_the_mend_is_what_suits_both() {
        let said = |driver: &str| CgroupDriver::Said(driver.to_owned());
        let (systemd, cgroupfs) = ("options.SystemdCgroup = true", "options.SystemdCgroup = false");
        for (options, kubelet, mend) in [
            (systemd, said("systemd"), None),
            (cgroupfs, said("systemd"), Some("SystemdCgroup = true")),
            ("", said("systemd"), Some("SystemdCgroup = true")),
            (systemd, said("cgroupfs"), Some("cgroupDriver: systemd")),
            (systemd, CgroupDriver::Unsaid, Some("cgroupDriver: systemd")),
            ("", said("cgroupfs"), None),
            ("", CgroupDriver::Unsaid, None),
        ] {
            let found = cgroups(&runtime(options), &kubelet);
            assert_eq!(found.state, if mend.is_some() { State::Note } else { State::Ok }, "{found:?}");
            assert_eq!(found.mend.as_deref().map(|text| text.contains(mend.unwrap())), mend.map(|_| true));
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
        let runc = format!("{}runtime_type = '{RUNC}'\n{all}", table("runc"));
        let (kata, gvisor) = (table("kata"), table("runsc"));
        let others = format!(
            "{kata}runtime_type = 'io.containerd.kata.v2'\n{gvisor}runtime_type = 'io.containerd.runsc.v1'\n"
        );
        let mixed = format!("{runc}{others}");
        for (main, imported, expected) in [
            (main.as_str(), table("crun"), &[("runc: ann", State::Ok), ("crun: not", State::Note)][..]),
            (&mixed, String::new(), &[("runc: ann", State::Ok)]),
            (&others, String::new(), &[("no table", State::Note)]),
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
