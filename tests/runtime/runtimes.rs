//! The demo's handlers under every runtime and engine, in a container and in a process that joins it.

use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Podman, Runc, profile};
use serde_json::Value;

/// What the demo's handlers answer.
const NOTIFIED: [&str; 6] = ["chmod", "fchmod", "fchmodat", "mkdir", "mkdirat", "mount"];

/// Makes use of each handler.
const SCRIPT: [&str; 3] = [
    "sh",
    "-c",
    "mkdir /$0abc; ls -d /$0abc*; chmod 777 /; mount -t proc proc /root && cat /root/1/comm; true",
];

/// What becomes of [`SCRIPT`] in a container whose init is called `init`.
#[track_caller]
fn assert_answered(ended: &Ended, name: &str, init: &str, daemon: &Daemon) {
    let lines: Vec<_> = ended.stdout.lines().collect();
    let [made, comm] = lines[..] else { panic!("{ended}\n{}", daemon.log()) };
    assert!(made.starts_with(&format!("/{name}abc-pid-")), "{ended}\n{}", daemon.log());
    assert_eq!(comm, init, "{ended}\n{}", daemon.log());
    assert!(ended.stderr.contains("Bad message"), "{ended}\n{}", daemon.log());
}

fn script(name: &str) -> Vec<&str> {
    SCRIPT.into_iter().chain([name]).collect()
}

fn bed() -> (Bed, Daemon, Value) {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    let seccomp = profile::notifying(&NOTIFIED, daemon.socket());
    (bed, daemon, seccomp)
}

#[test]
fn crun_is_answered_in_a_container_and_in_an_exec() {
    let (bed, daemon, seccomp) = bed();
    let crun = Runc::crun(&bed).unwrap();
    let bundle = Bundle::new(&bed).unwrap().seccomp(seccomp).annotation("org.example.team", "blue");
    let bundle = bundle.command(&script("run"));
    let ended = crun.run(&crun.unused_id("crun"), &bundle).unwrap();
    assert_answered(&ended, "run", "sh", &daemon);
    assert!(daemon.logs(&["org.example.team", "blue"]), "{}", daemon.log());

    let id = crun.unused_id("crun");
    let bundle = bundle.command(&["probe", "pause"]);
    crun.start(&id, &bundle).unwrap();
    let ended = crun.exec(&id, &script("exec")).unwrap();
    assert_answered(&ended, "exec", "probe", &daemon);
    // Whose container it is, is all that crun says of a process that joins one.
    assert!(daemon.logs(&[&id, "pid=0", "exec=true"]), "{}", daemon.log());
}

#[test]
fn crun_finds_the_agent_by_an_annotation() {
    let (bed, daemon, mut seccomp) = bed();
    seccomp.as_object_mut().unwrap().remove("listenerPath");
    let crun = Runc::crun(&bed).unwrap();
    let receiver = daemon.socket().to_str().unwrap();
    let bundle = Bundle::new(&bed).unwrap().seccomp(seccomp);
    let bundle = bundle.annotation("run.oci.seccomp.receiver", receiver).command(&script("run"));
    let ended = crun.run(&crun.unused_id("crun-annotation"), &bundle).unwrap();
    assert_answered(&ended, "run", "sh", &daemon);
}

#[test]
fn cruns_connection_may_be_idle_from_create_to_start_and_delays_nobody() {
    let (bed, daemon, seccomp) = bed();
    let crun = Runc::crun(&bed).unwrap();
    let idle = Bundle::new(&bed).unwrap().seccomp(seccomp.clone()).command(&["mkdir", "/late"]);
    let id = crun.unused_id("crun-idle");
    crun.create(&id, &idle).unwrap();

    let other = Bundle::new(&bed).unwrap().seccomp(seccomp).command(&script("run"));
    let ended = crun.run(&crun.unused_id("crun-beside"), &other).unwrap();
    assert_answered(&ended, "run", "sh", &daemon);
    assert!(ended.took < Duration::from_secs(5), "{ended}");
    std::thread::sleep(Duration::from_secs(6));

    let init = crun.state(&id).unwrap()["pid"].as_u64().unwrap();
    crun.start_created(&id).unwrap();
    let made = idle.rootfs().join(format!("late-pid-{init}"));
    let served = seccomp_agent_tests::eventually(Duration::from_secs(5), || made.is_dir());
    assert!(served, "{}", daemon.log());
}

fn podman_is_answered(runtime: &'static str) {
    let (bed, daemon, seccomp) = bed();
    let podman = Podman::over(runtime, &bed).unwrap();
    let bundle = Bundle::new(&bed).unwrap();
    let ended = podman.run(&bundle, &seccomp, &script("run")).unwrap();
    assert_answered(&ended, "run", "sh", &daemon);
    assert!(daemon.logs(&["io.container.manager", "libpod"]), "{}", daemon.log());

    let name = podman.start(&bundle, &seccomp, &["probe", "pause"]).unwrap();
    let ended = podman.exec(&name, &script("exec")).unwrap();
    assert_answered(&ended, "exec", "probe", &daemon);
    assert!(daemon.logs(&[&name]), "{}", daemon.log());
}

#[test]
fn podman_over_runc_is_answered_in_a_container_and_in_an_exec() {
    podman_is_answered("runc");
}

#[test]
fn podman_over_crun_is_answered_in_a_container_and_in_an_exec() {
    podman_is_answered("crun");
}
