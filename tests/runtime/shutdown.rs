//! SIGTERM, and what becomes of the containers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, profile};

/// What the agent promises.
const WITHIN: Duration = Duration::from_secs(5);

#[test]
fn an_idle_agent_ends_cleanly_and_takes_its_socket_along() {
    for signal in [Signal::TERM, Signal::INT] {
        let bed = Bed::new().unwrap();
        let mut daemon = Daemon::serve(&bed, &[]).unwrap();
        let start = Instant::now();
        daemon.signal(signal).unwrap();
        assert_eq!(daemon.wait().unwrap().code(), Some(0), "{signal:?} {}", daemon.log());
        assert!(start.elapsed() < WITHIN);
        assert!(!bed.socket().exists(), "{}", daemon.log());
    }
}

#[test]
fn the_containers_that_will_get_enosys_are_named_and_get_it() {
    let bed = Bed::new().unwrap();
    let mut daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let script = "while ! [ -e /go ]; do sleep 0.1; done; chmod 777 / 2> /said; echo done >> /said";
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["chmod"], daemon.socket()))
        .command(&["sh", "-c", script]);
    let id = runc.unused_id("orphan");
    runc.start(&id, &bundle).unwrap();

    let start = Instant::now();
    assert_eq!(daemon.stop().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(start.elapsed() < WITHIN);
    assert!(daemon.logs(&[&id, "ENOSYS"]), "{}", daemon.log());

    std::fs::write(bundle.rootfs().join("go"), "").unwrap();
    let said = bundle.rootfs().join("said");
    let said = || std::fs::read_to_string(&said).unwrap_or_default();
    assert!(seccomp_agent_tests::eventually(WITHIN, || said().contains("done")), "{}", said());
    assert!(said().contains("Function not implemented"), "{}", said());
}

#[test]
fn a_call_in_flight_is_answered_before_the_agent_ends() {
    let bed = Bed::new().unwrap();
    let mut daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["execve"], daemon.socket()))
        .command(&["sh", "-c", "/bin/true; echo $? > /said"]);
    runc.start(&runc.unused_id("in-flight"), &bundle).unwrap();
    // The execve of /bin/true is held for two seconds.
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    assert_eq!(daemon.stop().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(start.elapsed() < WITHIN);
    let said = bundle.rootfs().join("said");
    let said = || std::fs::read_to_string(&said).unwrap_or_default();
    assert!(seccomp_agent_tests::eventually(WITHIN, || !said().is_empty()));
    assert_eq!(said(), "0\n", "{}", daemon.log());
}
