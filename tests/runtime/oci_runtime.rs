//! `seccomp-agent oci-runtime` in front of runc, called by hand and by docker.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Docker, Runc, binaries, profile, run_for};
use serde_json::Value;

const NOTIFIED: [&str; 3] = ["mkdir", "mkdirat", "mount"];

/// A profile as it comes out of docker: without what docker drops.
fn dropped(socket: &Path) -> Value {
    let mut seccomp = profile::notifying(&NOTIFIED, socket);
    seccomp.as_object_mut().unwrap().remove("listenerPath");
    seccomp
}

fn wrapper(bed: &Bed, more: &[&str]) -> Runc {
    let agent = binaries::agent().unwrap();
    Runc::by(bed, &[&[agent.to_str().unwrap(), "oci-runtime"], more].concat()).unwrap()
}

#[test]
fn a_container_and_an_exec_under_runc_are_answered() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    let flags = ["--listener-path", daemon.socket().to_str().unwrap(), "--listener-metadata", "sesame=open"];
    let runc = wrapper(&bed, &flags);
    let bundle = Bundle::new(&bed).unwrap().seccomp(dropped(daemon.socket())).command(&["mkdir", "/run"]);
    let id = runc.unused_id("wrapped");
    let ended = runc.run(&id, &bundle).unwrap();
    assert!(ended.success(), "{ended}\n{}", daemon.log());
    assert!(bundle.rootfs().join(format!("run-pid-{}", bundle.init_pid().unwrap())).is_dir());
    assert!(daemon.logs(&[&id, "sesame=open"]), "{}", daemon.log());

    let bundle = bundle.command(&["probe", "pause"]);
    let id = runc.unused_id("wrapped");
    runc.start(&id, &bundle).unwrap();
    let init = runc.state(&id).unwrap()["pid"].as_u64().unwrap();
    assert!(runc.exec(&id, &["mkdir", "/exec"]).unwrap().success());
    assert!(bundle.rootfs().join(format!("exec-pid-{init}")).is_dir(), "{}", daemon.log());
}

#[test]
fn a_container_whose_profile_notifies_nothing_is_left_alone() {
    let bed = Bed::new().unwrap();
    let runc = wrapper(&bed, &["--listener-path", "/nowhere/agent.socket"]);
    let bundle = Bundle::new(&bed).unwrap().command(&["true"]);
    let ended = runc.run(&runc.unused_id("wrapped"), &bundle).unwrap();
    assert!(ended.success(), "{ended}");
}

#[test]
fn the_runtime_is_called_for_what_the_wrapper_does_not_know() {
    let agent = binaries::agent().unwrap();
    let said = |program: &OsStr, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        let ended = run_for(Duration::from_secs(10), command.args(arguments)).unwrap();
        (ended.status.code(), ended.said())
    };
    for arguments in [&["--version"][..], &["--help"], &["features"], &["state", "nothing"], &["--unknown"]] {
        let wrapped = [&["oci-runtime"], arguments].concat();
        let (status, said_wrapped) = said(agent.as_os_str(), &wrapped);
        let (expected, said_bare) = said(OsStr::new("runc"), arguments);
        assert_eq!(status, expected, "{arguments:?}: {said_wrapped}");
        // runc writes the time of an error.
        if status == Some(0) {
            assert_eq!(said_wrapped, said_bare, "{arguments:?}");
        }
    }
}

#[test]
fn a_bundle_that_cannot_be_read_is_named_where_engines_look() {
    let bed = Bed::new().unwrap();
    let log = bed.path().join("runtime.log");
    let mut command = std::process::Command::new(binaries::agent().unwrap());
    command.args(["oci-runtime", "--log-format", "json", "--log"]).arg(&log);
    command.args(["create", "--bundle", "/nowhere/bundle", "id"]);
    let ended = run_for(Duration::from_secs(10), &mut command).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains("/nowhere/bundle/config.json"), "{ended}");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("/nowhere/bundle/config.json"), "{line}");
}

#[test]
fn docker_is_answered_in_a_container_and_in_an_exec() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    let bundle = Bundle::new(&bed).unwrap();
    // What docker is given, and drops a part of.
    let seccomp = profile::with_metadata(profile::notifying(&NOTIFIED, daemon.socket()), "sesame=open");
    let file = bed.path().join("profile.json");
    std::fs::write(&file, seccomp.to_string()).unwrap();
    let agent = binaries::agent().unwrap();
    let flags = [agent.as_os_str(), "oci-runtime".as_ref(), "--profile".as_ref(), file.as_os_str()];
    let docker = Docker::with_runtime(&flags, &bed, &bundle).unwrap();

    let script = "mkdir /$0abc; ls -d /$0abc*; mount -t proc proc /root && cat /root/1/comm; true";
    let ended = docker.run(&seccomp, &["sh", "-c", script, "run"]).unwrap();
    let lines: Vec<_> = ended.stdout.lines().collect();
    let [made, "sh"] = lines[..] else { panic!("{ended}\n{}\n{}", daemon.log(), docker.log()) };
    assert!(made.starts_with("/runabc-pid-"), "{ended}");

    let name = docker.start(&seccomp, &["probe", "pause"]).unwrap();
    assert!(daemon.logs(&[&name, "sesame=open"]), "{}", daemon.log());
    let ended = docker.exec(&name, &["sh", "-c", script, "exec"]).unwrap();
    let lines: Vec<_> = ended.stdout.lines().collect();
    let [made, "probe"] = lines[..] else { panic!("{ended}\n{}\n{}", daemon.log(), docker.log()) };
    assert!(made.starts_with("/execabc-pid-"), "{ended}");
}

#[test]
fn docker_says_why_the_wrapper_does_not_start_a_container() {
    let bed = Bed::new().unwrap();
    let bundle = Bundle::new(&bed).unwrap();
    let agent = binaries::agent().unwrap();
    let flags =
        [agent.as_os_str(), "oci-runtime".as_ref(), "--profile".as_ref(), "/nowhere/profile".as_ref()];
    let docker = Docker::with_runtime(&flags, &bed, &bundle).unwrap();
    let ended = docker.run(&dropped(Path::new("/unused")), &["true"]).unwrap();
    assert!(!ended.success() && ended.stderr.contains("/nowhere/profile"), "{ended}");
}
