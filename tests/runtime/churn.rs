//! Containers come and go; the agent stays as it was.

use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, profile};

/// How many containers are run before what the agent uses is taken as normal: it starts threads and keeps memory.
const WARM_UP: u32 = 20;
/// How many containers come and go.
const CONTAINERS: u32 = 200;
/// How much more memory the agent may hold afterwards.
const SLACK_KIB: u64 = 1024;

#[test]
fn after_200_containers_descriptors_and_memory_are_as_before_and_no_cpu_is_used() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["mkdir", "chmod", "openat"], daemon.socket()))
        .command(&["chmod", "777", "/"]);
    let come_and_go = |count| {
        for _ in 0..count {
            let ended = runc.run(&runc.unused_id("churn"), &bundle).unwrap();
            assert!(ended.stderr.contains("Bad message"), "{ended}\n{}", daemon.log());
        }
        daemon.settled_usage().unwrap()
    };

    let before = come_and_go(WARM_UP);
    let after = come_and_go(CONTAINERS);
    assert_eq!(after.descriptors, before.descriptors, "{before:?} {after:?}");
    assert!(after.threads <= before.threads, "{before:?} {after:?}");
    assert!(after.resident_kib <= before.resident_kib + SLACK_KIB, "{before:?} {after:?}");

    std::thread::sleep(Duration::from_secs(2));
    let later = daemon.usage().unwrap();
    // One tick of the processor's clock is the least that can be seen.
    assert!(later.cpu.saturating_sub(after.cpu) <= Duration::from_millis(10), "{after:?} {later:?}");
}
