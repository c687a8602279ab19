//! What the runtime says of a container reaches the resolver: at its start, and for each process that joins it.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, eventually, profile};

#[test]
fn metadata_and_annotations_reach_the_resolver() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--log-level", "debug"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let seccomp = profile::with_metadata(profile::notifying(&["mkdir"], daemon.socket()), "sesame=open");
    let bundle = Bundle::new(&bed).unwrap().seccomp(seccomp).annotation("org.example.team", "blue");
    let id = runc.unused_id("metadata");
    assert!(runc.run(&id, &bundle).unwrap().success());
    assert!(daemon.logs(&[&id, "sesame=open", "org.example.team", "blue"]), "{}", daemon.log());
}

#[test]
fn a_process_that_joins_a_container_brings_a_second_listener_of_the_same_container() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["mkdir"], daemon.socket()))
        .command(&["probe", "pause"]);
    let id = runc.unused_id("exec");
    runc.start(&id, &bundle).unwrap();
    let init = runc.state(&id).unwrap()["pid"].as_u64().unwrap();

    for name in ["first", "second"] {
        let ended = runc.exec(&id, &["mkdir", &format!("/{name}")]).unwrap();
        assert!(ended.success(), "{ended}\n{}", daemon.log());
        // Named by the pid of the container's init, not by that of the process that joined it.
        assert!(bundle.rootfs().join(format!("{name}-pid-{init}")).is_dir(), "{}", daemon.log());
    }
}

#[test]
fn a_container_created_long_before_it_starts_is_served() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["mkdir"], daemon.socket()))
        .command(&["mkdir", "/abc"]);
    let id = runc.unused_id("created");
    runc.create(&id, &bundle).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    runc.start_created(&id).unwrap();
    let init = runc.state(&id).unwrap()["pid"].as_u64();
    let made = || {
        std::fs::read_dir(bundle.rootfs())
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("abc-pid-"))
    };
    let served = eventually(Duration::from_secs(5), made);
    assert!(served, "{init:?} {}", daemon.log());
}

#[test]
fn a_peer_that_says_nothing_delays_nobody() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let silent: Vec<_> = (0..50).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["chmod"], daemon.socket()))
        .command(&["chmod", "777", "/"]);
    let ended = runc.run(&runc.unused_id("beside-silent"), &bundle).unwrap();
    assert!(ended.stderr.contains("Bad message"), "{ended}\n{}", daemon.log());
    assert!(ended.took < Duration::from_secs(5), "{ended}");
    drop(silent);
}
