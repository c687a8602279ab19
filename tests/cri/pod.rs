//! A pod's container is served, and so are what is executed in it and, where its profile says so, its sandbox.

use std::path::Path;
use std::time::Duration;

use seccomp_agent_agent::ProcessState;
use seccomp_agent_tests::{Bed, Bundle, Capture, Daemon, eventually, profile};

use crate::client::{
    Client, ContainerConfig, ContainerId, ContainerMetadata, CreateContainerRequest, Done, ExecSyncRequest,
    ExecSyncResponse, ImageSpec, LOCALHOST, LinuxContainerConfig, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NAMESPACE_OF_CONTAINER, NAMESPACE_OF_NODE,
    NamespaceOption, PodSandboxConfig, PodSandboxId, PodSandboxMetadata, RunPodSandboxRequest,
    SecurityProfile, UNCONFINED,
};
use crate::containerd::Containerd;
use crate::image;

/// A running pod on the host's network, so that it needs no network plugins. Dropping it removes it.
struct Pod {
    client: Client,
    config: PodSandboxConfig,
    id: String,
}

impl Pod {
    fn run(containerd: &Containerd, seccomp: SecurityProfile) -> Self {
        let mut client = Client::connect(&containerd.socket()).unwrap();
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(on_host_network()),
            seccomp: Some(seccomp),
        };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "web-0".into(),
                uid: "5d1c".into(),
                namespace: "shop".into(),
            }),
            annotations: [("example.org/team".into(), "blue".into())].into(),
            // No cgroup but the containers' own: containerd would leave its others behind.
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: "/".into(),
                security_context: Some(security),
            }),
        };
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let answer: PodSandboxId = client
            .call("RunPodSandbox", request)
            .unwrap_or_else(|error| panic!("{error:?}\n{}", containerd.log()));
        Self { client, config, id: answer.pod_sandbox_id }
    }

    /// Starts a container, and returns its name.
    fn start(&mut self, command: &[&str], seccomp: SecurityProfile) -> String {
        let security = LinuxContainerSecurityContext {
            namespace_options: Some(on_host_network()),
            seccomp: Some(seccomp),
        };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "app".into() }),
            image: Some(ImageSpec { image: image::IMAGE.into() }),
            command: command.iter().map(|&word| word.into()).collect(),
            annotations: [("example.org/tier".into(), "front".into())].into(),
            linux: Some(LinuxContainerConfig { security_context: Some(security) }),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let created: ContainerId = self.client.call("CreateContainer", request).unwrap();
        self.client.call::<_, Done>("StartContainer", created.clone()).unwrap();
        created.container_id
    }

    /// Runs `command` in the container `id`.
    fn exec(&mut self, id: &str, command: &[&str]) -> (i32, String, String) {
        let cmd = command.iter().map(|&word| word.into()).collect();
        let request = ExecSyncRequest { container_id: id.into(), cmd, timeout: 20 };
        let answer: ExecSyncResponse = self.client.call("ExecSync", request).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (answer.exit_code, text(answer.stdout), text(answer.stderr))
    }
}

impl Drop for Pod {
    #[allow(clippy::print_stderr)] // There is nobody to return it to.
    fn drop(&mut self) {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let pod = PodSandboxId { pod_sandbox_id: self.id.clone() };
            if let Err(error) = self.client.call::<_, Done>(method, pod) {
                eprintln!("a pod may be left behind: {error:#}");
            }
        }
    }
}

fn on_host_network() -> NamespaceOption {
    NamespaceOption { network: NAMESPACE_OF_NODE, pid: NAMESPACE_OF_CONTAINER }
}

fn unconfined() -> SecurityProfile {
    SecurityProfile { profile_type: UNCONFINED, localhost_ref: String::new() }
}

/// Notifies what the demo's handlers answer.
fn answered(bed: &Bed, socket: &Path) -> SecurityProfile {
    notifying(&["chmod", "fchmodat", "mkdir", "mkdirat", "mount"], bed, socket)
}

fn notifying(names: &[&str], bed: &Bed, socket: &Path) -> SecurityProfile {
    let path = bed.path().join("profile.json");
    let seccomp = profile::notifying(names, socket);
    let seccomp = profile::with_metadata(seccomp, "sesame=open");
    std::fs::write(&path, seccomp.to_string()).unwrap();
    SecurityProfile { profile_type: LOCALHOST, localhost_ref: path.to_str().unwrap().into() }
}

/// Makes use of each handler.
const SCRIPT: &str = "mkdir /$0abc; ls -d /$0abc*; chmod 777 / 2>&1; mount -t proc proc /root && cat /root/1/comm; \
                      umount /root 2>/dev/null";

#[track_caller]
fn assert_answered(output: &str, name: &str, init: &str) {
    let lines: Vec<_> = output.lines().collect();
    let [made, chmod, comm] = lines[..] else { panic!("{output}") };
    assert!(made.starts_with(&format!("/{name}abc-pid-")), "{output}");
    assert!(chmod.contains("Bad message"), "{output}");
    assert_eq!(comm, init, "{output}");
}

#[test]
fn a_pods_container_and_what_is_executed_in_it_are_answered() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    let containerd = Containerd::start(&bed, &Bundle::new(&bed).unwrap()).unwrap();
    let seccomp = answered(&bed, daemon.socket());
    let mut pod = Pod::run(&containerd, unconfined());
    let script = format!("({SCRIPT}) > /out.new; mv /out.new /out; probe pause; true");
    let id = pod.start(&["sh", "-c", &script, "run"], seccomp);

    let mut said = String::new();
    let ran = eventually(Duration::from_secs(10), || {
        let (status, out, _) = pod.exec(&id, &["cat", "/out"]);
        said = out;
        status == 0
    });
    assert!(ran, "{}\n{}", daemon.log(), containerd.log());
    assert_answered(&said, "run", "sh");
    let (_, said, _) = pod.exec(&id, &["sh", "-c", SCRIPT, "exec"]);
    assert_answered(&said, "exec", "sh");

    for (name, value) in [
        ("io.kubernetes.cri.container-name", "app"),
        ("io.kubernetes.cri.container-type", "container"),
        ("io.kubernetes.cri.image-name", image::IMAGE),
        ("io.kubernetes.cri.sandbox-id", &pod.id),
        ("io.kubernetes.cri.sandbox-name", "web-0"),
        ("io.kubernetes.cri.sandbox-namespace", "shop"),
        ("io.kubernetes.cri.sandbox-uid", "5d1c"),
        ("example.org/tier", "front"),
    ] {
        assert!(daemon.logs(&[&id, name, value, "sesame=open"]), "{name}: {}", daemon.log());
    }
    assert!(!daemon.log().contains("\"sandbox\""), "{}", daemon.log());
}

#[test]
fn a_pods_sandbox_is_served_where_its_profile_notifies() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    let containerd = Containerd::start(&bed, &Bundle::new(&bed).unwrap()).unwrap();
    let mut seccomp = answered(&bed, daemon.socket());
    seccomp.localhost_ref.insert_str(0, "localhost/");
    let pod = Pod::run(&containerd, seccomp);
    let words = ["io.kubernetes.cri.container-type", "sandbox", &pod.id, "example.org/team", "blue"];
    assert!(daemon.logs(&words), "{}", daemon.log());
}

#[test]
fn the_states_of_a_sandbox_a_container_and_an_exec_are_understood() {
    let bed = Bed::new().unwrap();
    let capture = Capture::new(&bed).unwrap();
    let containerd = Containerd::start(&bed, &Bundle::new(&bed).unwrap()).unwrap();
    // What no runtime needs, since nobody answers.
    let seccomp = notifying(&["chroot"], &bed, capture.socket());
    let mut pod = Pod::run(&containerd, seccomp.clone());
    let id = pod.start(&["probe", "pause"], seccomp);
    assert_eq!(pod.exec(&id, &["true"]).0, 0);
    for (name, expected) in
        [("containerd-sandbox", &pod.id), ("containerd-create", &id), ("containerd-exec", &id)]
    {
        let text = capture.state(name).unwrap();
        let state = ProcessState::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(state.container.id, *expected, "{text}");
        assert_eq!(state.container.is_exec(), name.ends_with("exec"), "{text}");
        assert_eq!(state.container.annotations["io.kubernetes.cri.sandbox-id"], pod.id, "{text}");
    }
}
