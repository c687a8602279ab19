//! What the first page of the documentation shows, in a pod of each kind.

use crate::agent;
use crate::cluster::{Cluster, in_peace};
use crate::pod::Pod;

/// Makes the directory that it is told, mounts proc, and runs a program that is not delayed and one that is.
const SCRIPT: &str = r#"
    cd /
    mkdir $DIRECTORY && ls -d $DIRECTORY-*
    mount -t proc proc root && mount | grep 'proc on /root type proc' && umount root
    { time /bin/echo -n ""; } 2>&1 | grep real
    { time /bin/true; } 2>&1 | grep real
    echo done
"#;

/// The seconds that a line `real 0m 2.00s` says.
fn seconds(line: &str) -> f64 {
    let (minutes, seconds) = line.strip_prefix("real").unwrap().split_once('m').unwrap();
    let seconds: f64 = seconds.trim().trim_end_matches('s').parse().unwrap();
    minutes.trim().parse::<f64>().unwrap() * 60.0 + seconds
}

/// Whether [`SCRIPT`] has written what it should.
#[track_caller]
fn check(said: &str, directory: &str) {
    let lines: Vec<_> = said.lines().collect();
    let [made, mounted, echoed, delayed, "done"] = lines[..] else { panic!("{said}") };
    assert_eq!(made, directory);
    assert!(mounted.starts_with("proc on /root type proc ("), "{mounted}");
    // Starting a program takes as long in both.
    assert!(seconds(delayed) >= 2.0, "{delayed}");
    assert!(seconds(echoed) < seconds(delayed) - 1.0, "{echoed}, {delayed}");
}

/// Runs [`SCRIPT`] as the pod's program, and by exec.
#[track_caller]
fn walk_through(cluster: &Cluster, pod: Pod, suffix: &str) {
    let pod = pod.script(&format!("DIRECTORY=/abc; {SCRIPT} sleep infinity"));
    pod.run(cluster);
    check(&pod.writes(cluster, "done"), &format!("/abc{suffix}"));
    let ended = pod.exec(cluster, &format!("DIRECTORY=/def; {SCRIPT}"));
    check(&ended.stdout, &format!("/def{suffix}"));
}

#[test]
fn the_walk_through_works_in_its_pod_and_by_exec() {
    let (_peace, cluster) = in_peace();
    walk_through(cluster, Pod::example(cluster, "walk-through.yaml"), "-default-mynotifypod-container1");
}

#[test]
fn it_works_with_other_runtimes() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("runtimes");
    for class in ["runc-distro", "crun"] {
        let pod =
            Pod::new("runtimes", class, "seccomp-agent/walk-through.json").with("runtimeClassName", class);
        walk_through(cluster, pod, &format!("-runtimes-{class}-main"));
    }
}

/// Mounting is left to the kernel there.
#[test]
fn in_a_user_namespace_of_its_own_a_pod_gets_directories_and_delays() {
    let (_peace, cluster) = in_peace();
    cluster.namespace("users");
    let script = r"
        read -r inside outside count < /proc/self/uid_map
        [ $inside = 0 ] && [ $outside != 0 ] && [ $count = 65536 ] && echo mapped
        mkdir /abc && ls -d /abc-* && stat -c %u /abc-*
        { time /bin/true; } 2>&1 | grep real
        echo done
    ";
    let pod = Pod::new("users", "mapped", "seccomp-agent/walk-through.json").with("hostUsers", false);
    let pod = pod.script(&format!("{script} sleep infinity"));
    pod.run(cluster);
    let said = pod.writes(cluster, "done");
    let lines: Vec<_> = said.lines().collect();
    let ["mapped", "/abc-users-mapped-main", "0", delayed, "done"] = lines[..] else { panic!("{said}") };
    assert!(seconds(delayed) >= 2.0, "{delayed}");
}

#[test]
fn the_doctor_looks_at_the_node_from_the_agents_pod() {
    let (_peace, cluster) = in_peace();
    let said = agent::exec(cluster, &["doctor", "--root", "/proc/1/root"]);
    assert!(said.success(), "{said}");
    for well in [
        "/run/seccomp-agent.socket is answered",
        "/var/lib/kubelet/seccomp has",
        "annotations are passed on",
        "the cgroups of others can be frozen",
        // The distribution's, and what containerd's configuration names instead.
        " runc version 1.1",
        "/bin/runc: runc version 1.5",
        "crun version 1.",
        "containerd github.com/containerd/containerd",
    ] {
        assert!(said.stdout.lines().any(|line| line.starts_with("ok ") && line.contains(well)), "{said}");
    }
}
