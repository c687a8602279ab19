//! The same mounts in two containers: one has `CAP_SYS_ADMIN` and no seccomp profile, the other is granted them by
//! policy.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Podman, Runc, binaries, profile, run_for};
use serde_json::json;

/// What the second container lacks.
const PRIVILEGE: &str = "CAP_SYS_ADMIN";

pub(crate) const NOTIFIED: [&str; 10] = [
    "mount",
    "umount",
    "umount2",
    "fsopen",
    "fspick",
    "fsconfig",
    "fsmount",
    "mount_setattr",
    "move_mount",
    "open_tree",
];

/// What grants it everything, and forces nothing: mounts are to be equal.
const POLICY: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      mount:
        - {type: proc, allow: [suid, dev, exec]}
        - {type: sysfs, allow: [suid, dev, exec]}
        - {type: mqueue, allow: [suid, dev, exec]}
        - {type: devpts, allow: [suid, exec]}
        - {type: tmpfs, allow: [suid, dev]}
        - {type: overlay, allow: [suid, dev]}
        - bind
        - propagation
";

/// What the steps are about.
const TREE: &str = "
mkdir -p a b c d e deep/er lower1 lower2 upper work merged
echo one > lower1/both; echo two > lower2/both; echo gone > lower2/gone; echo file > file; echo other > other
ln -s a link; ln -s nothing dangling; ln -s loop loop; ln -s .. up
";

/// Flags by their numbers: 1 read-only, 2 nosuid, 4 nodev, 8 noexec, 32 remount, 1024 noatime, 4096 bind, 16384
/// recursive, 1 << 17 unbindable, 1 << 18 private, 1 << 19 slave. Of `umount2`: 2 detach, 4 expire, 8 nofollow. Of
/// `fsmount`: 1 read-only, 2 nosuid, 4 nodev, 8 noexec, 16 noatime.
const STEPS: &str = "
mount x a tmpfs 0 mode=711,size=1m
mount x ./b/ tmpfs 1038 size=64k,nr_inodes=10,uid=7,gid=8
mount - c tmpfs 1 -
mount x link tmpfs 0 -
mount x deep/er/.. tmpfs 2 -
mount x file tmpfs 0 -
mount x file/ tmpfs 0 -
mount x nothing tmpfs 0 -
mount x nothing/x tmpfs 0 -
mount x dangling tmpfs 0 -
mount x loop tmpfs 0 -
mount x - tmpfs 0 -
mount x d tmpfs 0 size=nonsense
mount x d tmpfs 0 nonsense
mount x d proc 14 hidepid=9
table
umount link 8
umount link 0
umount link 0
umount deep 0
umount nothing 0
umount file 0
umount c 4
umount c 4
umount c 0
umount b 1048576
umount b 2
mount - a - 33 -
mount - a - 32 size=2m
mount - a - 4134 -
mount - a - 4128 -
mount - a - 32 nonsense
mount - b - 32 -
mount lower1 b - 4096 -
mount file other - 4096 -
mount file b - 4096 -
mount lower1 file - 4096 -
mount nothing b - 4096 -
mount x deep/er tmpfs 0 -
mount deep c - 20480 -
mount - c - 4129 -
mount - c - 262144 -
mount - c - 524288 -
mount - b - 131072 -
mount b d - 4096 -
table
umount c 0
umount c 2
umount other 0
umount b 0
umount deep/er 0
mount o merged overlay 0 lowerdir=lower1:./lower2,upperdir=upper,workdir=work
mount o d overlay 0 lowerdir=lower1:lower2
mount o e overlay 0 lowerdir=nothing:lower1
mount o e overlay 0 upperdir=upper,workdir=work
mount o e overlay 0 lowerdir=file:lower1
mount o e overlay 0 -
new tmpfs b 0 source=x size=1m ro
new tmpfs c 30 size=64k mode=700
new tmpfs e 0 size=nonsense
new tmpfs e 0 nonsense
new tmpfs nothing 0
new tmpfs file 0
new proc e 14 source=x hidepid=2
table
stat b
stat merged
stat e
umount e 2
umount b 0
umount c 0
";

/// What is to be seen of what was mounted.
const LOOK: &str = "
cat merged/both; cat merged/gone; echo new > merged/new; rm merged/both; ls merged; cat upper/new
stat -c '%F %t:%T' upper/both; cat d/both; echo x > d/new; stat -c '%a %u %g' a b
mkdir p s q t
probe mounts 'mount x p proc 0 -
mount x s sysfs 1 -
mount x q mqueue 0 -
mount x t devpts 0 newinstance,ptmxmode=666,mode=620'
test \"$(cat p/self/comm)\" = cat && echo own processes; ls p | grep -x 1
cat p/1/comm; ls s/class/net; echo x > s/kernel/uevent_seqnum || echo read-only; ls q t
grep -E ' /w/(p|s|q|t) ' /proc/self/mountinfo | cut -d' ' -f4,6-
cd /; umount -l /w/p && umount /w/s && umount /w/q && umount /w/t && umount /w/merged && umount /w/d && umount /w/a
grep -c ' /w/' /proc/self/mountinfo; true
";

/// How a container is run.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Runc,
    RuncInUserNamespace,
    Crun,
    PodmanOverRunc,
    PodmanOverCrun,
    /// `seccomp-agent run`, which answers itself.
    Launcher,
}

/// User 0 of a container in a user namespace.
const FIRST: u32 = 300_000;

/// The output of the script in a container that has the privilege, or of one that is granted what it takes.
fn run(kind: Kind, is_granted: bool) -> Ended {
    let bed = Bed::new().unwrap();
    let policy = bed.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let script = format!("mkdir -p /w; cd /w\n{TREE}\nprobe mounts '{STEPS}'\n{LOOK}");
    let command = ["sh", "-c", &script];
    let bundle = Bundle::new(&bed).unwrap().with_sysfs().covering_proc().command(&command);
    let bundle = match kind {
        Kind::RuncInUserNamespace => bundle.user_namespace(FIRST).unwrap(),
        _ => bundle,
    };
    if let Kind::Launcher = kind {
        return launch(&bed, &bundle, is_granted.then_some(&*policy), &command);
    }
    let agent = is_granted.then(|| Daemon::serve(&bed, &["--policy", policy.to_str().unwrap()]).unwrap());
    let notifying = agent.as_ref().map(|agent| profile::notifying(&NOTIFIED, agent.socket()));
    let ended = match kind {
        Kind::PodmanOverRunc | Kind::PodmanOverCrun => {
            let runtime = if matches!(kind, Kind::PodmanOverRunc) { "runc" } else { "crun" };
            let podman = Podman::over(runtime, &bed).unwrap();
            let podman = if is_granted { podman } else { podman.giving(&[PRIVILEGE]) };
            let profile = notifying.unwrap_or_else(|| json!({"defaultAction": "SCMP_ACT_ALLOW"}));
            podman.run(&bundle, &profile, &command).unwrap()
        }
        _ => {
            let runtime = if matches!(kind, Kind::Crun) { Runc::crun(&bed) } else { Runc::new(&bed) };
            let runtime = runtime.unwrap();
            let bundle = match notifying {
                Some(profile) => bundle.seccomp(profile),
                None => bundle.with_capabilities(&[PRIVILEGE]),
            };
            runtime.run(&runtime.unused_id("alike"), &bundle).unwrap()
        }
    };
    assert!(ended.success(), "{ended}\n{}", agent.map(|agent| agent.log()).unwrap_or_default());
    ended
}

/// How long the launcher may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn launch(bed: &Bed, bundle: &Bundle, policy: Option<&Path>, command: &[&str]) -> Ended {
    let mut run = Command::new(binaries::agent().unwrap());
    run.args(["run", "--log-level=error", "--rootfs"]).arg(bundle.rootfs()).env("PATH", "/bin:/usr/bin");
    if let Some(policy) = policy {
        let config = bed.path().join("config.yaml");
        std::fs::write(&config, format!("policy: {}\n", policy.display())).unwrap();
        run.arg("--config").arg(config);
    } else {
        run.args(["--cap-add", PRIVILEGE]);
    }
    let ended = run_for(DEADLINE, run.arg("--").args(command)).unwrap();
    assert!(ended.success(), "{ended}");
    ended
}

/// What has been said, without where the root filesystem is on the host, and without what covers entries of a procfs
/// that has been granted.
fn comparable(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines().filter(|line| !line.starts_with("  e/"));
    let plain = |line: &str| {
        let words = line.split(' ').map(|word| word.split_once("/rootfs/").map_or(word, |(_, below)| below));
        words.collect::<Vec<_>>().join(" ")
    };
    lines.map(plain).collect()
}

#[track_caller]
fn a_grant_is_as_good_as_the_privilege(kind: Kind) {
    let (native, granted) = (run(kind, false), run(kind, true));
    let (of_native, of_granted) = (comparable(&native), comparable(&granted));
    let pairs = of_native.iter().zip(&of_granted);
    let differ = pairs.clone().find(|(native, granted)| native != granted);
    assert!(differ.is_none(), "{kind:?}: {differ:#?} of {native}\n{granted}");
    assert_eq!(of_native.len(), of_granted.len(), "{native}\n{granted}");
    for outcome in [
        "mount x a tmpfs 0 mode=711,size=1m -> ok",
        "new tmpfs c 30 size=64k mode=700 -> ok",
        "own processes",
    ] {
        assert!(native.stdout.contains(outcome), "{outcome}: {native}");
    }
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_runc() {
    a_grant_is_as_good_as_the_privilege(Kind::Runc);
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_runc_in_a_user_namespace() {
    a_grant_is_as_good_as_the_privilege(Kind::RuncInUserNamespace);
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_crun() {
    a_grant_is_as_good_as_the_privilege(Kind::Crun);
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_podman_over_runc() {
    a_grant_is_as_good_as_the_privilege(Kind::PodmanOverRunc);
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_podman_over_crun() {
    a_grant_is_as_good_as_the_privilege(Kind::PodmanOverCrun);
}

#[test]
fn a_grant_is_as_good_as_the_privilege_under_the_launcher() {
    a_grant_is_as_good_as_the_privilege(Kind::Launcher);
}
