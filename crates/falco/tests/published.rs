//! Against a gRPC server that stands in Falco's place, on a socket as its plugin's.

#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use std::time::{Duration, Instant};

use seccomp_agent_falco::{Falco, Workload};
use seccomp_agent_falcofake::{Origin, listen};
use seccomp_agent_registry::{Call, Container, Notification, Registry, Verdict};

fn registry(falco: &Falco) -> Registry {
    let mut registry = Registry::new();
    registry.on("mkdir", |_: &Call<'_>| Verdict::Return(7)).unwrap();
    let workload = Workload { namespace: "shop".into(), pod: "web-0".into(), container: "nginx".into() };
    registry.layer(&falco.layer(workload));
    registry
}

#[test]
fn falco_is_told_of_a_call_and_who_made_it() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("falco.sock");
    let events = listen(&socket);
    let falco = Falco::start(&socket).unwrap();
    let mut container = Container::named("c");
    (container.init_pid, container.pid) = (50, 60);
    let notification = Notification::sample("mkdir");
    let call = Call::new(&notification, &container);
    // Falco may take a moment to listen; until then events are left out.
    let deadline = Instant::now() + Duration::from_secs(20);
    let event = loop {
        assert_eq!(registry(&falco).answer(&call), Verdict::Return(7));
        if let Ok(event) = events.recv_timeout(Duration::from_millis(200)) {
            break event;
        }
        assert!(Instant::now() < deadline, "no event; {} were left out", falco.left_out());
    };
    assert_eq!((event.id, event.pid), (notification.id.as_raw(), notification.tid.into()));
    assert_eq!(event.syscall, "mkdir");
    let expected = Origin {
        namespace: "shop".into(),
        pod: "web-0".into(),
        container: "nginx".into(),
        pid: 50,
        pid_filter: 60,
    };
    assert_eq!(event.k8s, Some(expected));
}

#[test]
fn no_call_waits_for_a_falco_that_is_away_or_mute() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mute = folder.path().join("mute.sock");
    // Takes connections, and never says a word.
    let _mute = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    for socket in [folder.path().join("nobody.sock"), mute] {
        let falco = Falco::start(&socket).unwrap();
        let (notification, container) = (Notification::sample("mkdir"), Container::named("c"));
        let registry = registry(&falco);
        for _ in 0..20_000 {
            assert_eq!(registry.answer(&Call::new(&notification, &container)), Verdict::Return(7));
        }
        assert!(falco.left_out() >= 20_000 - 300, "{socket:?}: one container fills the queue");
    }
}
