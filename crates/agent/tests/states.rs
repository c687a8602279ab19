//! The states in `tests/states` are what runtimes and engines really sent, byte for byte: runc 1.1.5 and crun 1.8.1
//! by themselves and under podman 4.3.1; runc under containerd 1.6.20 as Kubernetes drives it, and under docker
//! 20.10.24 with `seccomp-agent oci-runtime`. The tests beside real runtimes renew them.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use seccomp_agent_agent::ProcessState;
use seccomp_agent_registry::{Container, Status};

fn container(name: &str) -> Container {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/states").join(name).with_extension("json");
    let state = ProcessState::parse(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(state.descriptors, ["seccompFd"], "{name}");
    assert_eq!(state.listener_index().unwrap(), 0, "{name}");
    state.container
}

#[test]
fn a_start_names_the_containers_init_and_an_exec_the_same_container() {
    for runtime in ["runc", "crun", "podman-runc", "podman-crun", "docker", "containerd"] {
        let created = container(&format!("{runtime}-create"));
        assert_eq!(created.status, Status::Creating, "{runtime}");
        assert!(created.pid > 1 && created.init_pid == created.pid, "{runtime}: {created:?}");
        assert!(created.bundle.is_absolute() && !created.is_exec(), "{runtime}: {created:?}");
        assert_eq!(created.metadata, "sesame=open", "{runtime}");

        let joined = container(&format!("{runtime}-exec"));
        assert_eq!(joined.status, Status::Running, "{runtime}");
        assert!(joined.is_exec(), "{runtime}: {joined:?}");
        assert_eq!(joined.id, created.id, "{runtime}");
        assert_eq!(joined.annotations, created.annotations, "{runtime}");
        assert_eq!(joined.metadata, "sesame=open", "{runtime}");
        if runtime.contains("crun") {
            assert_eq!((joined.pid, joined.init_pid), (0, 0), "{runtime}: crun does not say who joined");
        } else {
            assert_eq!(joined.init_pid, created.pid, "{runtime}");
            assert_ne!(joined.pid, created.pid, "{runtime}");
        }
    }
}

#[test]
fn an_engine_is_known_by_its_annotations() {
    for (name, key, value) in [
        ("runc-create", "org.example.team", "blue"),
        ("crun-create", "org.example.team", "blue"),
        ("podman-runc-create", "io.container.manager", "libpod"),
        ("podman-crun-create", "io.container.manager", "libpod"),
        ("containerd-create", "io.kubernetes.cri.container-type", "container"),
        ("containerd-create", "io.kubernetes.cri.container-name", "app"),
        ("containerd-create", "io.kubernetes.cri.sandbox-name", "web-0"),
        ("containerd-create", "io.kubernetes.cri.sandbox-namespace", "shop"),
        ("containerd-create", "io.kubernetes.cri.sandbox-uid", "5d1c"),
        ("containerd-create", "example.org/tier", "front"),
        ("containerd-sandbox", "io.kubernetes.cri.container-type", "sandbox"),
        ("containerd-sandbox", "example.org/team", "blue"),
    ] {
        assert_eq!(container(name).annotations.get(key).map(String::as_str), Some(value), "{name}: {key}");
    }
    assert!(container("docker-create").annotations.is_empty());
}
