//! Containers with a user namespace of their own.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, eventually, profile};

const POLICY: &str = "
version: 1
rules:
  - name: all
    match: {}
    grant:
      directories: {suffix: -made}
      nodes: ['c 1:3']
      modes: [CAP_FOWNER]
      owners: {users: [1000], groups: [1000]}
";

const NOTIFIED: [&str; 10] =
    ["mkdir", "mkdirat", "mknod", "mknodat", "chmod", "fchmodat", "chown", "lchown", "fchown", "fchownat"];

/// User 0 of the container.
const FIRST: u32 = 300_000;

/// Each line takes a capability that the container has not, but for the last, which is not granted.
const SCRIPT: &str = "
mkdir d
> f; chown 1000:1000 f && ls -ln f | cut -c-20
chmod 600 f && ls -ln f | cut -c-20
mknod null c 1 3 && ls -ln null | cut -c-20
chown 1001 f; mknod zero c 1 5
true";

fn bed() -> (Bed, Daemon, Bundle) {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::with_policy(&bed, POLICY).unwrap();
    let bundle = Bundle::new(&bed).unwrap().user_namespace(FIRST).unwrap();
    let bundle = bundle
        .without(&["CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD"])
        .seccomp(profile::notifying(&NOTIFIED, daemon.socket()));
    (bed, daemon, bundle)
}

#[track_caller]
fn is_acted_for(runtime: impl FnOnce(&Bed) -> anyhow::Result<Runc>, name: &str) {
    let (bed, daemon, bundle) = bed();
    let runtime = runtime(&bed).unwrap();
    let ended = runtime.run(&runtime.unused_id(name), &bundle.command(&["sh", "-c", SCRIPT])).unwrap();
    let said = format!("{ended}\n{}", daemon.log());
    let lines: Vec<_> =
        ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0][..3], ["-rw-r--r--", "1", "1000"], "{said}");
    assert_eq!(lines[1][..3], ["-rw-------", "1", "1000"], "{said}");
    assert_eq!(lines[2][..3], ["crw-r--r--", "1", "0"], "{said}");
    assert_eq!(ended.stderr.matches("Operation not permitted").count(), 2, "{said}");
}

#[test]
fn runc_and_its_container_are_acted_for() {
    is_acted_for(Runc::new, "runc-userns");
}

#[test]
fn crun_and_its_container_are_acted_for() {
    is_acted_for(Runc::crun, "crun-userns");
}

#[test]
fn a_container_has_one_helper_for_as_long_as_it_lives() {
    let (bed, daemon, bundle) = bed();
    let runc = Runc::new(&bed).unwrap();
    let (first, second) = (runc.unused_id("userns"), runc.unused_id("userns"));
    let bundle = bundle.command(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 100 ]; do mkdir d-$1-$i; i=$((i+1)); done; probe pause",
    ]);
    let settles_at =
        |count: usize| eventually(Duration::from_secs(10), || daemon.children().unwrap() == count);
    let owner = |name: &str| std::fs::metadata(bundle.rootfs().join(name)).map(|meta| meta.uid());
    runc.start(&first, &bundle).unwrap();
    assert!(eventually(Duration::from_secs(10), || owner("d--99-made").is_ok()), "{}", daemon.log());
    assert_eq!(owner("d--99-made").unwrap(), FIRST);
    assert_eq!(daemon.children().unwrap(), 1);
    let ended = runc.exec(&first, &["mkdir", "/by-exec"]).unwrap();
    assert!(ended.success(), "{ended}\n{}", daemon.log());
    assert_eq!(owner("by-exec-made").unwrap(), FIRST);
    assert_eq!(daemon.children().unwrap(), 1, "a process that joins the container shares it");
    runc.start(&second, &bundle).unwrap();
    assert!(settles_at(2), "{}", daemon.log());
    runc.delete(&first).unwrap();
    assert!(settles_at(1), "{}", daemon.log());
    runc.delete(&second).unwrap();
    assert!(settles_at(0), "{}", daemon.log());
}
