use std::path::Path;

use seccomp_agent_handlers::{CgroupError, cgroups_in_sight};

use super::{Finding, read};

const CHECK: &str = "permissions";

/// The number that the kernel gives the first pid namespace (`include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// What the first user namespace maps: every id, onto itself.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Capabilities by their numbers (`capabilities(7)`), with what is not possible without.
const NEEDED: [(u32, &str, &str); 7] = [
    (19, "CAP_SYS_PTRACE", "the arguments of calls cannot be read"),
    (21, "CAP_SYS_ADMIN", "namespaces cannot be joined, and nothing is mounted"),
    (18, "CAP_SYS_CHROOT", "paths of containers cannot be walked"),
    (6, "CAP_SETGID", "nothing is done as a container's group"),
    (7, "CAP_SETUID", "nothing is done as a container's user"),
    (8, "CAP_SETPCAP", "capabilities cannot be given up for a call"),
    (5, "CAP_KILL", "nothing is killed, and files are made with the agent's rights to signal"),
];

/// What this process may not do or see.
pub(super) fn findings() -> Vec<Finding> {
    let status = read(Path::new("/proc/self/status")).unwrap_or_default();
    let uids = read(Path::new("/proc/self/uid_map")).unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    vec![
        capabilities(&status),
        user_namespace(&uids),
        pid_namespace(&namespace.to_string_lossy()),
        cgroups(cgroups_in_sight(Path::new("/proc"))),
    ]
}

fn capabilities(status: &str) -> Finding {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let missing: Vec<_> = NEEDED.iter().filter(|(number, ..)| effective & (1 << number) == 0).collect();
    let Some((_, _, consequence)) = missing.first() else {
        return Finding::ok(CHECK, "the capabilities that are needed");
    };
    let names: Vec<_> = missing.iter().map(|(_, name, _)| *name).collect();
    Finding::wrong(
        CHECK,
        format!("without {}: {consequence}", names.join(", ")),
        "run as root; in a pod, add them to securityContext.capabilities, as deploy/ does",
    )
}

fn user_namespace(uid_map: &str) -> Finding {
    if uid_map.split_whitespace().eq(ALL_IDS) {
        Finding::ok(CHECK, "in the first user namespace")
    } else {
        Finding::wrong(
            CHECK,
            "in a user namespace of its own: its capabilities count for nothing outside",
            "run it as the machine's root; in a pod, without hostUsers: false",
        )
    }
}

fn pid_namespace(link: &str) -> Finding {
    if link == FIRST_PID_NAMESPACE {
        Finding::ok(CHECK, "in the machine's pid namespace")
    } else {
        Finding::note(
            CHECK,
            "in a pid namespace of its own: callers outside of it are not seen, and their calls not emulated",
            "in a pod, hostPID: true. Nothing, if the runtimes are in the same namespace",
        )
    }
}

/// What freezing containers and telling of their limits take.
fn cgroups(in_sight: Result<usize, CgroupError>) -> Finding {
    let what = "containers are not frozen, and sysinfo tells them of the machine";
    let mend = "run as root; in a pod, mount the node's /sys/fs/cgroup there, not read-only, as deploy/ does";
    match in_sight {
        Ok(0) => {
            let found = format!("no cgroups of others are seen: {what}");
            Finding::note(CHECK, found, format!("nothing, if none runs. Else {mend}"))
        }
        Ok(_) => Finding::ok(CHECK, "the cgroups of others can be frozen"),
        Err(error) => Finding::note(CHECK, format!("{what}: of some, {error}"), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n").state, State::Ok);
        let finding = capabilities("CapEff:\t00000000a80425fb\n");
        assert_eq!(finding.state, State::Wrong);
        assert!(finding.found.starts_with("without CAP_SYS_PTRACE, CAP_SYS_ADMIN:"), "{}", finding.found);
        assert_eq!(capabilities("").state, State::Wrong);
    }

    #[test]
    fn cgroups_that_cannot_be_frozen_are_told() {
        assert_eq!(cgroups(Ok(2)).state, State::Ok);
        assert_eq!(cgroups(Ok(0)).state, State::Note);
        let finding = cgroups(Err(CgroupError::OutOfSight { path: "/pods/a".to_owned() }));
        assert_eq!(finding.state, State::Note);
        assert!(finding.found.contains("\"/pods/a\" cannot be seen"), "{}", finding.found);
    }

    #[test]
    fn namespaces_of_its_own_are_told() {
        assert_eq!(user_namespace("         0          0 4294967295\n").state, State::Ok);
        assert_eq!(user_namespace("         0       1000          1\n").state, State::Wrong);
        assert_eq!(pid_namespace("pid:[4026531836]").state, State::Ok);
        assert_eq!(pid_namespace("pid:[4026532211]").state, State::Note);
    }
}
