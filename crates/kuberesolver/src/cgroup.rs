//! Whose pod a cgroup belongs to: pure, so that it can be tested on the paths of every driver.

/// The UID of the pod that a process belongs to, by the paths in its `/proc/PID/cgroup` (`cgroups(7)`): the outermost,
/// for below its own cgroup a container may be free to make others, of any name. What the agent's own paths have in
/// them, `ours`, does not count: it is the pod of a node that runs in a pod, or the agent's.
///
/// The kubelet's cgroups are called `pod<UID>`, below `kubepods` (driver cgroupfs), or `kubepods-…pod<UID>.slice`, with
/// underscores in the UID (driver systemd).
///
/// ```
/// let paths = "0::/kubepods/burstable/pod4b5c1d2e-0000-4000-8000-00000000000a/0a1b\n";
/// let uid = seccomp_agent_kuberesolver::pod_uid(paths, "0::/system.slice/seccomp-agent.service\n");
/// assert_eq!(uid.as_deref(), Some("4b5c1d2e-0000-4000-8000-00000000000a"));
/// ```
pub fn pod_uid(paths: &str, ours: &str) -> Option<String> {
    let outer: Vec<_> = uids(ours).collect();
    uids(paths).find(|uid| !outer.contains(uid))
}

/// All that are in the paths, of each the outermost first.
fn uids(paths: &str) -> impl Iterator<Item = String> {
    // ID:CONTROLLERS:PATH, and a path may have colons.
    let paths = paths.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/').filter_map(uid))
}

/// The UID that a cgroup's name has in it.
fn uid(name: &str) -> Option<String> {
    // SLICE:PREFIX:CONTAINER is how runtimes name a cgroup to systemd; not all of them ask it.
    let name = name.split(':').next()?;
    let name = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod").filter(|(parents, _)| parents.starts_with("kubepods"))?.1,
        None => name.strip_prefix("pod")?,
    };
    let uid = name.replace('_', "-");
    is_uid(&uid).then_some(uid)
}

/// A UUID, or the hash that the kubelet gives a static pod.
fn is_uid(text: &str) -> bool {
    const UUID: [usize; 5] = [8, 4, 4, 4, 12];
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths = text.split('-').map(str::len);
    text.split('-').all(is_hex) && (lengths.eq(UUID) || text.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "4b5c1d2e-1111-4222-8333-44445555666a";
    const OUTER: &str = "00000000-1111-4222-8333-44445555666b";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn each_drivers_paths_tell_the_pod() {
        let underscored = UID.replace('-', "_");
        for (paths, expected) in [
            (format!("0::/kubepods/besteffort/pod{UID}/c"), Some(UID)),
            (format!("0::/kubepods/pod{UID}/c"), Some(UID)),
            (
                format!(
                    "12:pids:/kubepods/burstable/pod{UID}/c\n1:name=systemd:/kubepods/burstable/pod{UID}/c\n0::/"
                ),
                Some(UID),
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/cri-containerd-0a1b.scope"
                ),
                Some(UID),
            ),
            (format!("0::/kubepods.slice/kubepods-pod{underscored}.slice/crio-0a1b.scope"), Some(UID)),
            // containerd with driver cgroupfs below a kubelet with driver systemd.
            (
                format!(
                    "11:cpu:/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:0a1b"
                ),
                Some(UID),
            ),
            (format!("0::/kubepods/pod{OUTER}/node/kubelet/kubepods/besteffort/pod{UID}/c"), Some(UID)),
            (
                format!(
                    "0::/kubepods.slice/kubepods-pod{}.slice/x.scope/kubelet.slice/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/y.scope",
                    OUTER.replace('-', "_")
                ),
                Some(UID),
            ),
            (format!("0::/kubepods/burstable/pod{STATIC}/c"), Some(STATIC)),
            ("0::/user.slice/podman-4.scope/container".to_owned(), None),
            ("0::/kubepods/podx/c\n0::/pod\n\n::".to_owned(), None),
            (format!("0::/evil-pod{underscored}.slice/c"), None),
        ] {
            let ours = format!("0::/kubepods/pod{OUTER}/node/kubelet/agent");
            assert_eq!(pod_uid(&paths, &ours).as_deref(), expected, "{paths}");
        }
    }

    #[test]
    fn what_a_container_makes_below_its_own_cgroup_does_not_count() {
        let paths = format!("0::/kubepods/burstable/pod{UID}/c/pod{OUTER}/x");
        assert_eq!(pod_uid(&paths, "0::/\n").as_deref(), Some(UID));
    }
}
