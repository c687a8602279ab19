//! Under systemd: the socket is inherited, and readiness is told (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Runc, Serve, binaries, eventually, profile};

/// A shell that becomes the agent, with `socket` as descriptor 3, as systemd would start it.
fn activated(bed: &Bed, socket: UnixListener) -> Serve {
    let mut command = Command::new("sh");
    let agent = binaries::agent().unwrap();
    command
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --resolver demo-basic \"$@\" 3<&0 </dev/null",
        ])
        .arg(agent);
    Serve::by(bed, command).stdin(Stdio::from(OwnedFd::from(socket)))
}

#[test]
fn an_inherited_socket_is_served_and_left_in_place() {
    let bed = Bed::new().unwrap();
    let mut daemon = activated(&bed, UnixListener::bind(bed.socket()).unwrap()).start().unwrap();
    // Connecting succeeds from the start, agent or no agent: the socket's owner is somebody else.
    assert!(daemon.logs(&["listening"]), "{}", daemon.log());
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["chmod"], daemon.socket()))
        .command(&["chmod", "777", "/"]);
    let ended = runc.run(&runc.unused_id("activated"), &bundle).unwrap();
    assert!(ended.stderr.contains("Bad message"), "{ended}\n{}", daemon.log());
    assert_eq!(daemon.stop().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(bed.socket().exists(), "the socket is systemd's");
}

#[test]
fn the_units_capabilities_are_enough() {
    let unit = include_str!("../../deploy/systemd/seccomp-agent.service");
    let granted: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .flat_map(str::split_whitespace)
        .map(|name| name.replace("CAP_", "+").to_lowercase())
        .collect();
    assert!(granted.len() > 5, "{granted:?}");

    let bed = Bed::new().unwrap();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set=-all,{}", granted.join(","))).arg("--no-new-privs");
    command.arg(binaries::agent().unwrap()).args(["serve", "--resolver", "demo-basic"]);
    command.arg("--socket").arg(bed.socket());
    let daemon = Serve::by(&bed, command).start().unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["mkdir", "mount"], daemon.socket()))
        .command(&["sh", "-c", "mkdir /abc && mount -t proc proc /root && cat /root/1/comm; true"]);
    let ended = runc.run(&runc.unused_id("unit"), &bundle).unwrap();
    assert_eq!(ended.stdout, "sh\n", "{ended}\n{}", daemon.log());
    assert!(bundle.rootfs().join(format!("abc-pid-{}", bundle.init_pid().unwrap())).is_dir());
}

#[test]
fn readiness_and_stopping_are_told() {
    let bed = Bed::new().unwrap();
    let path = bed.path().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    told.set_nonblocking(true).unwrap();
    let serve = Serve::new(&bed, &[]).unwrap().env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut daemon = serve.start().unwrap();
    let mut said = String::new();
    let mut hears = |what: &str| {
        eventually(Duration::from_secs(5), || {
            let mut message = [0; 4096];
            while let Ok(length) = told.recv(&mut message) {
                said.push_str(&String::from_utf8_lossy(&message[..length]));
                said.push('\n');
            }
            said.lines().any(|line| line == what)
        })
    };
    assert!(hears("READY=1"), "{}", daemon.log());
    daemon.stop().unwrap();
    assert!(hears("STOPPING=1"), "{}", daemon.log());
}
