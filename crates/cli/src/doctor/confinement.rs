use std::path::Path;

use super::{Finding, read};

const CHECK: &str = "confinement";
/// What engines confine containers by: they forbid mounting, and looking at whoever is confined otherwise.
const OF_CONTAINERS: [&str; 3] = ["cri-containerd.apparmor.d", "crio-default", "docker-default"];
const OF_PODMANS: &str = "containers-default-";
/// The SELinux type of containers that nothing else is said of.
const CONTAINER_T: &str = "container_t";

/// Whether a security module confines this process, as it would the agent.
pub(super) fn findings() -> Vec<Finding> {
    let files = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];
    // Without such a module, there is nothing to be read.
    let label = files.iter().find_map(|file| read(Path::new(file)));
    label.map(|label| of(label.trim_end_matches(['\0', '\n']))).into_iter().collect()
}

/// A label is `PROFILE (MODE)` or `unconfined` of AppArmor, and `USER:ROLE:TYPE:LEVEL` of SELinux.
fn of(label: &str) -> Finding {
    let selinux_type = label.split(':').nth(2).filter(|_| !label.ends_with(')'));
    if selinux_type == Some(CONTAINER_T) {
        return Finding::note(
            CHECK,
            format!(
                "SELinux confines it as a container, {label}: the node's /run and its runtimes are out of reach"
            ),
            "in a pod, securityContext.seLinuxOptions: {type: spc_t}, as deploy/ does. Nothing, if SELinux is permissive",
        );
    }
    let Some(profile) = label.strip_suffix(" (enforce)").or_else(|| label.strip_suffix(" (kill)")) else {
        return Finding::ok(CHECK, format!("no security module confines it: {label}"));
    };
    let consequence = "mounts for containers fail, and so does reading what others are about";
    let mend = "in a pod, securityContext.appArmorProfile: {type: Unconfined}, or before Kubernetes 1.30 its annotation, as \
        deploy/ does";
    if OF_CONTAINERS.contains(&profile) || profile.starts_with(OF_PODMANS) {
        let found = format!("AppArmor confines it as any container, by {profile}: {consequence}");
        return Finding::wrong(CHECK, found, mend);
    }
    let found =
        format!("AppArmor confines it, by {profile}: if that was not made for the agent, {consequence}");
    Finding::note(CHECK, found, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_confines_containers_is_told_from_what_does_not_confine() {
        for (label, state) in [
            ("unconfined", State::Ok),
            ("seccomp-agent (complain)", State::Ok),
            ("seccomp-agent (unconfined)", State::Ok),
            ("cri-containerd.apparmor.d (enforce)", State::Wrong),
            ("containers-default-0.57.4 (enforce)", State::Wrong),
            ("docker-default (kill)", State::Wrong),
            ("seccomp-agent (enforce)", State::Note),
            (":ns://a:container_t:b (enforce)", State::Note),
            ("system_u:system_r:container_t:s0:c1,c2", State::Note),
            ("system_u:system_r:spc_t:s0", State::Ok),
        ] {
            let found = of(label);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.found.contains(label.split(" (").next().unwrap()), "{found:?}");
        }
    }
}
