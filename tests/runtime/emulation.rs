//! The same script in two containers: one has the privileges that it takes, the other is granted them by policy.

use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, binaries, profile, run_for};

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

/// The same where nobody makes devices, granted or not.
fn granting_without_devices() -> String {
    GRANTING.replace("[c 1:3, c 1:5, b 8:0]", "[]")
}

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

/// How a container is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Runc,
    RuncInUserNamespace,
    Crun,
    CrunInUserNamespace,
    /// `seccomp-agent run`, which answers itself.
    Launcher,
    /// The same without root, in the user namespace that it makes for this.
    LauncherInUserNamespace,
}

impl Kind {
    const fn is_in_user_namespace(self) -> bool {
        matches!(self, Self::RuncInUserNamespace | Self::CrunInUserNamespace | Self::LauncherInUserNamespace)
    }
}

/// User 0 of a container in a user namespace: nobody, who is the only one there under the launcher.
const FIRST: u32 = 65_534;

fn run(kind: Kind, policy: Option<&str>, command: &[&str]) -> Ended {
    let bed = Bed::new().unwrap();
    let mut bundle = Bundle::new(&bed).unwrap().command(command);
    if kind.is_in_user_namespace() {
        bundle = bundle.user_namespace(FIRST).unwrap();
    }
    let path = policy.map(|policy| {
        let path = bed.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let lacks: &[&str] = if policy.is_none_or(|policy| policy == EMULATING) { &[] } else { &PRIVILEGES };
    let runtime = match kind {
        Kind::Runc | Kind::RuncInUserNamespace => Runc::new(&bed).unwrap(),
        Kind::Crun | Kind::CrunInUserNamespace => Runc::crun(&bed).unwrap(),
        Kind::Launcher | Kind::LauncherInUserNamespace => {
            return launch(&bed, &bundle, kind, path.as_deref(), lacks, command);
        }
    };
    let agent = path.map(|path| Daemon::serve(&bed, &["--policy", &path]).unwrap());
    if let Some(agent) = &agent {
        bundle = bundle.seccomp(profile::notifying(&NOTIFIED, agent.socket())).without_capabilities(lacks);
    }
    let ended = runtime.run(&runtime.unused_id("emulation"), &bundle).unwrap();
    assert!(ended.success(), "{ended}\n{}", agent.map(|agent| agent.log()).unwrap_or_default());
    ended
}

/// How long the launcher may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn launch(
    bed: &Bed,
    bundle: &Bundle,
    kind: Kind,
    policy: Option<&str>,
    lacks: &[&str],
    command: &[&str],
) -> Ended {
    // At a place where everybody finds it. Copied not by this process: what it starts meanwhile would keep the program
    // open for writing.
    let (built, agent) = (binaries::agent().unwrap(), bed.path().join("seccomp-agent"));
    if std::fs::hard_link(&built, &agent).is_err() {
        assert!(Command::new("cp").arg(built).arg(&agent).status().unwrap().success());
    }
    let mut run = Command::new("setpriv");
    if kind.is_in_user_namespace() {
        run.args([&format!("--reuid={FIRST}"), &format!("--regid={FIRST}"), "--clear-groups"]);
    }
    run.arg(agent).args(["run", "--log-level=error", "--rootfs"]).arg(bundle.rootfs()).current_dir("/");
    if let Some(policy) = policy {
        let config = bed.path().join("config.yaml");
        std::fs::write(&config, format!("policy: {policy}\n")).unwrap();
        run.arg("--config").arg(config);
    }
    for capability in lacks {
        run.args(["--cap-drop", capability]);
    }
    let ended = run_for(DEADLINE, run.env("PATH", "/bin:/usr/bin").arg("--").args(command)).unwrap();
    assert!(ended.success(), "{ended}");
    ended
}

#[track_caller]
fn assert_same(native: &Ended, emulated: &Ended) {
    for (native, emulated) in native.stdout.lines().zip(emulated.stdout.lines()) {
        assert_eq!(native, emulated);
    }
    assert_eq!(native.stdout.lines().count(), emulated.stdout.lines().count(), "{native}\n{emulated}");
    assert!(native.stdout.lines().count() > 50, "{native}");
}

fn a_grant_is_as_good_as_the_privileges(kind: Kind) {
    let command = ["sh", "-c", &format!("mkdir /work; cd /work; {SCRIPT}")];
    let native = run(kind, None, &command);
    let without_devices = granting_without_devices();
    let policy = if kind.is_in_user_namespace() { &without_devices } else { GRANTING };
    assert_same(&native, &run(kind, Some(policy), &command));
    // There is but one user in a namespace that nobody has made without the help of root.
    let gives_away = u8::from(kind == Kind::LauncherInUserNamespace);
    let makes_devices = u8::from(kind.is_in_user_namespace());
    for outcome in [format!("mknod null c 1 3 -> {makes_devices}"), format!("chown 5:6 file -> {gives_away}")]
    {
        assert!(native.stdout.contains(&outcome), "{outcome}: {native}");
    }
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_runc() {
    a_grant_is_as_good_as_the_privileges(Kind::Runc);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_runc_in_a_user_namespace() {
    a_grant_is_as_good_as_the_privileges(Kind::RuncInUserNamespace);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_crun() {
    a_grant_is_as_good_as_the_privileges(Kind::Crun);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_crun_in_a_user_namespace() {
    a_grant_is_as_good_as_the_privileges(Kind::CrunInUserNamespace);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_the_launcher() {
    a_grant_is_as_good_as_the_privileges(Kind::Launcher);
}

#[test]
fn a_grant_is_as_good_as_the_privileges_under_the_launcher_without_root() {
    a_grant_is_as_good_as_the_privileges(Kind::LauncherInUserNamespace);
}

#[test]
fn a_user_without_rights_is_refused_what_the_kernel_refuses() {
    let command = ["sh", "-c", AS_USER, SCRIPT];
    for kind in [Kind::Runc, Kind::RuncInUserNamespace, Kind::Launcher] {
        let native = run(kind, None, &command);
        assert_same(&native, &run(kind, Some(EMULATING), &command));
        assert!(native.stdout.contains("mknod null c 1 3 -> 1"), "{native}");
    }
}

/// A policy that makes a part of a name of what the container's annotations say.
const NAMING: &str = "version: 1
rules:
  - name: named after the pod
    match: {}
    grant:
      directories: {suffix: '-{{.Pod}}'}
";

#[test]
fn an_annotation_that_would_be_more_than_a_part_of_a_name_makes_nothing_and_is_written_down() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::with_policy(&bed, NAMING).unwrap();
    let runc = Runc::new(&bed).unwrap();
    for (pod, is_name) in
        [("web", true), ("../../tmp/x", false), ("..", false), ("a/b", false), ("a\0b", false)]
    {
        let bundle = Bundle::new(&bed).unwrap().annotation("io.kubernetes.cri.sandbox-name", pod);
        let bundle = bundle.seccomp(profile::notifying(&NOTIFIED, daemon.socket()));
        let id = runc.unused_id("named");
        let ended = runc.run(&id, &bundle.command(&["sh", "-c", "mkdir /made; ls -d /made*"])).unwrap();
        let said = format!("{pod:?}: {ended}\n{}", daemon.log());
        assert_eq!(ended.stdout, if is_name { "/made-web\n" } else { "" }, "{said}");
        let record = if is_name { ["granted", "suffix"] } else { ["could not be resolved", "is no name"] };
        assert!(daemon.logs(&[&id, record[0], record[1]]), "{said}");
    }
}
