//! What each runtime and engine says of a container and of a process that joins it is understood.
//!
//! With `SECCOMP_AGENT_CAPTURE=$PWD/crates/agent/tests/states`, these tests and those of tier `cri` renew the states
//! that the agent's own tests are about.

use seccomp_agent_agent::ProcessState;
use seccomp_agent_registry::Container;
use seccomp_agent_tests::{Bed, Bundle, Capture, Docker, Podman, Runc, binaries, profile};
use serde_json::Value;

/// A profile that notifies what no runtime needs, since nobody answers.
fn notifying(capture: &Capture) -> Value {
    profile::with_metadata(profile::notifying(&["chroot"], capture.socket()), "sesame=open")
}

#[track_caller]
fn understood(capture: &Capture, name: &str) -> Container {
    let text = capture.state(name).unwrap();
    let state = ProcessState::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(state.listener_index().unwrap(), 0, "{text}");
    assert_eq!(state.container.metadata, "sesame=open", "{text}");
    assert_eq!(state.container.is_exec(), name.ends_with("exec"), "{text}");
    state.container
}

fn runtime(name: &str, runtime: &Runc, bed: &Bed, capture: &Capture) {
    let bundle = Bundle::new(bed).unwrap().seccomp(notifying(capture)).command(&["probe", "pause"]);
    let bundle = bundle.annotation("org.example.team", "blue");
    let id = runtime.unused_id(name);
    runtime.start(&id, &bundle).unwrap();
    assert!(runtime.exec(&id, &["true"]).unwrap().success());
    for step in ["create", "exec"] {
        let container = understood(capture, &format!("{name}-{step}"));
        assert_eq!(container.id, id);
        assert_eq!(container.annotations["org.example.team"], "blue");
    }
}

#[test]
fn of_runc() {
    let bed = Bed::new().unwrap();
    runtime("runc", &Runc::new(&bed).unwrap(), &bed, &Capture::new(&bed).unwrap());
}

#[test]
fn of_crun() {
    let bed = Bed::new().unwrap();
    runtime("crun", &Runc::crun(&bed).unwrap(), &bed, &Capture::new(&bed).unwrap());
}

fn podman(runtime: &'static str) {
    let bed = Bed::new().unwrap();
    let capture = Capture::new(&bed).unwrap();
    let podman = Podman::over(runtime, &bed).unwrap();
    let id = podman.start(&Bundle::new(&bed).unwrap(), &notifying(&capture), &["probe", "pause"]).unwrap();
    assert!(podman.exec(&id, &["true"]).unwrap().success());
    for step in ["create", "exec"] {
        assert_eq!(understood(&capture, &format!("podman-{runtime}-{step}")).id, id);
    }
}

#[test]
fn of_podman_over_runc() {
    podman("runc");
}

#[test]
fn of_podman_over_crun() {
    podman("crun");
}

#[test]
fn of_docker_with_the_wrapper() {
    let bed = Bed::new().unwrap();
    let capture = Capture::new(&bed).unwrap();
    let agent = binaries::agent().unwrap();
    let flags = ["--listener-metadata", "sesame=open", "--listener-path"].map(AsRef::as_ref);
    let runtime = [&[agent.as_os_str(), "oci-runtime".as_ref()], &flags[..], &[capture.socket().as_os_str()]];
    let docker = Docker::with_runtime(&runtime.concat(), &bed, &Bundle::new(&bed).unwrap()).unwrap();
    let id = docker.start(&notifying(&capture), &["probe", "pause"]).unwrap();
    assert!(docker.exec(&id, &["true"]).unwrap().success());
    for step in ["create", "exec"] {
        assert_eq!(understood(&capture, &format!("docker-{step}")).id, id);
    }
}
