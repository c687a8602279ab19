//! The hand-over to another process.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use seccomp_agent_notify::{Errno, Listener, ReceiveError, Response, SlotTable};
use serde_json::{Value, json};

use crate::support::{agent, directory, eventually, profile, run, shell};

/// Accepts one connection and its one message.
fn accept(socket: &UnixListener) -> (Value, Vec<OwnedFd>) {
    let (stream, _) = socket.accept().unwrap();
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let fds = fds.collect();
    (serde_json::from_slice(&bytes[..got.bytes]).unwrap(), fds)
}

#[test]
fn an_agent_gets_the_message_that_runc_sends_and_answers() {
    let directory = directory();
    let socket = directory.path().join("agent.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let peer = std::thread::spawn(move || {
        let (message, mut fds) = accept(&listener);
        assert_eq!(fds.len(), 1);
        let listener = Listener::new(fds.remove(0)).unwrap();
        let mut slot = SlotTable::new(1).unwrap().take().unwrap();
        let mut pids = Vec::new();
        loop {
            match listener.receive(&mut slot) {
                Ok(notification) => {
                    pids.push(u64::from(notification.tid));
                    listener.respond(notification.id, Response::Errno(Errno::XFULL)).unwrap();
                }
                Err(ReceiveError::CallerGone) => return (message, pids),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/no/where","listenerMetadata":"from the profile",
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let path = profile(&directory, text);
    let said = run(&[
        "--profile",
        path.to_str().unwrap(),
        "--agent",
        socket.to_str().unwrap(),
        "--name",
        "box",
        "--annotation",
        "a=b=c",
        "--",
        "mkdir",
        "/tmp/never",
    ]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stderr.contains("Exchange full"), "{said:?}");
    let (message, pids) = peer.join().unwrap();
    let pid = &message["pid"];
    assert_eq!(pids, [pid.as_u64().unwrap()]);
    let bundle = std::env::current_dir().unwrap();
    let expected = json!({"ociVersion": "1.0.2-dev", "fds": ["seccompFd"], "pid": pid, "metadata": "from the profile",
        "state": {"ociVersion": "1.0.2-dev", "id": "box", "status": "creating", "pid": pid, "bundle": bundle,
            "annotations": {"a": "b=c"}}});
    assert_eq!(message, expected);
}

#[test]
fn the_profiles_own_listener_path_is_used_and_its_absence_reported() {
    let directory = directory();
    let socket = directory.path().join("agent.socket");
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":{socket:?},
            "syscalls":[{{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}}]}}"#
    );
    let path = profile(&directory, &text);
    let options = ["--profile", path.to_str().unwrap()];
    let said = shell(&options, "echo started");
    assert_eq!((said.status, said.stdout.as_str()), (Some(125), ""));
    assert!(said.stderr.contains("agent.socket"), "{said:?}");

    let listener = UnixListener::bind(&socket).unwrap();
    let peer = std::thread::spawn(move || accept(&listener).1.len());
    assert_eq!(shell(&options, "exit 3").status, Some(3));
    assert_eq!(peer.join().unwrap(), 1);
}

/// A running `seccomp-agent serve`, gone when dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn a_daemon_serves_what_run_hands_over() {
    let directory = directory();
    let socket = directory.path().join("agent.socket");
    let socket = socket.to_str().unwrap();
    let mut serve = agent(&["serve", "--socket", socket, "--resolver", "demo-basic"]);
    let _served = Served(serve.stderr(Stdio::null()).spawn().unwrap());
    assert!(eventually(|| std::os::unix::net::UnixStream::connect(socket).is_ok()));
    let said = shell(&["--agent", socket, "--resolver", "demo-basic"], "chmod 700 /tmp");
    assert!(said.stderr.contains("Bad message"), "{said:?}");
}
