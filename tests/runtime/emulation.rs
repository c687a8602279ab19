//! The same script in two containers: one has the privileges that it takes, the other is granted them by policy.

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, profile};

const NOTIFIED: [&str; 17] = [
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
];

/// What the second container lacks.
const PRIVILEGES: [&str; 4] = ["CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD"];

/// A policy that grants them.
const GRANTING: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      directories: {suffix: \"\"}
      nodes: [c 1:3, c 1:5, b 8:0]
      modes: [CAP_FOWNER, CAP_FSETID]
      owners: {users: [0-65535], groups: [0-65535]}
";

/// A policy that emulates and grants nothing.
const EMULATING: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      directories: {suffix: \"\"}
      nodes: []
      modes: []
      owners: {}
      attributes: []
";

/// Makes and changes what it can below the working directory, and says what came of each step.
const SCRIPT: &str = "
try() { \"$@\" >/dev/null 2>&1; echo \"$* -> $?\"; }
umask 027
try mkdir plain; try mkdir plain; try mkdir -p deep/er/than; try mkdir nowhere/x; try mkdir ''; try mkdir plain/../..
try mkdir -m 2775 setgid; try chown 1000:2000 setgid; try chmod 2775 setgid; try mkdir setgid/in
try mkdir -m 1777 sticky; try chown 7 sticky; try mkdir sticky/in; try chmod 700 sticky/in
try mknod null c 1 3; try mknod setgid/zero c 1 5; try mknod disk b 8 0; try mkfifo setgid/fifo; try mknod null c 1 3
touch file; try chmod 6755 file; try chown 5:6 file; try chown 8 file; try chmod 6755 file
ln -s file link; ln -s nowhere dangling; ln -s loop loop; ln -s setgid through
try chown -h 9:9 link; try chmod 640 link; try chown 3 dangling; try chmod 600 loop; try mkdir through/made
try chmod 711 through; try chown 4:4 through/; try mkdir file/x; try mkdir file/; try mkdir link
try mkdir /proc/self/cwd/by-cwd; try mkdir /proc/1/x; try mkdir /proc/self/x; try mkdir ../../../../../tmp/up
try chown 1:1 /; try chmod 755 /
find . /tmp | sort | while read name; do stat -c '%n %a %u %g %t:%T %F' \"$name\"; done
";

/// The same as user 1000 in a directory of its own and in one of root's.
const AS_USER: &str = "
mkdir -m 777 /all; mkdir -m 755 /roots; mkdir -m 700 /private; touch /roots/file
cd /all; probe as 1000 1000 sh -c \"$0\"; cd /roots; probe as 1000 1000 sh -c \"$0\"
cd /all; probe as 1000 1000 sh -c 'mkdir /private/x; chmod 777 /roots/file; chown 1000 /roots/file; mknod /roots/n p'
stat -c '%n %a %u %g' /roots/* /private /private/* 2>&1; true
";

fn run(runtime: fn(&Bed) -> anyhow::Result<Runc>, policy: Option<&str>, command: &[&str]) -> Ended {
    let bed = Bed::new().unwrap();
    let runc = runtime(&bed).unwrap();
    let mut bundle = Bundle::new(&bed).unwrap().command(command);
    let mut agent = None;
    if let Some(policy) = policy {
        let path = bed.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        let daemon = Daemon::serve(&bed, &["--policy", path.to_str().unwrap()]).unwrap();
        bundle = bundle.seccomp(profile::notifying(&NOTIFIED, daemon.socket()));
        agent = Some(daemon);
    }
    if policy == Some(GRANTING) {
        bundle = bundle.without_capabilities(&PRIVILEGES);
    }
    let ended = runc.run(&runc.unused_id("emulation"), &bundle).unwrap();
    assert!(ended.success(), "{ended}\n{}", agent.map(|agent| agent.log()).unwrap_or_default());
    ended
}

#[track_caller]
fn assert_same(native: &Ended, emulated: &Ended) {
    for (native, emulated) in native.stdout.lines().zip(emulated.stdout.lines()) {
        assert_eq!(native, emulated);
    }
    assert_eq!(native.stdout.lines().count(), emulated.stdout.lines().count(), "{native}\n{emulated}");
    assert!(native.stdout.lines().count() > 60, "{native}");
}

fn a_grant_is_as_good_as_the_privileges(runtime: fn(&Bed) -> anyhow::Result<Runc>) {
    let command = ["sh", "-c", &format!("mkdir /work; cd /work; {SCRIPT}")];
    let native = run(runtime, None, &command);
    let emulated = run(runtime, Some(GRANTING), &command);
    assert_same(&native, &emulated);
    assert!(native.stdout.contains("mknod null c 1 3 -> 0") && native.stdout.contains("chown 5:6 file -> 0"));
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_runc() {
    a_grant_is_as_good_as_the_privileges(Runc::new);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_crun() {
    a_grant_is_as_good_as_the_privileges(Runc::crun);
}

#[test]
fn a_user_without_rights_is_refused_what_the_kernel_refuses() {
    let command = ["sh", "-c", AS_USER, SCRIPT];
    let native = run(Runc::new, None, &command);
    let emulated = run(Runc::new, Some(EMULATING), &command);
    assert_same(&native, &emulated);
    assert!(native.stdout.contains("mknod null c 1 3 -> 1"), "{native}");
}
