//! The agent of `docs/custom-agent.md`.

use std::process::Command;

use seccomp_agent_tests::{Bed, Bundle, Ended, Runc, Serve, binaries, profile};

fn sync_twice(annotation: Option<&str>) -> Ended {
    let bed = Bed::new().unwrap();
    let mut command = Command::new(binaries::example("custom-agent").unwrap());
    command.arg(bed.socket());
    let daemon = Serve::by(&bed, command).start().unwrap();
    let runc = Runc::new(&bed).unwrap();
    let mut bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["fsync", "fdatasync", "syncfs"], daemon.socket()))
        .command(&[
            "sh",
            "-c",
            "for turn in first second; do dd if=/dev/zero of=/tmp/f count=1 conv=fsync && echo $turn; done",
        ]);
    if let Some(n) = annotation {
        bundle = bundle.annotation("example.com/fail-every", n);
    }
    runc.run(&runc.unused_id("custom"), &bundle).unwrap()
}

#[test]
fn the_disk_of_a_container_that_asks_for_it_fails_now_and_then() {
    let ended = sync_twice(Some("2"));
    assert_eq!(ended.stdout.trim(), "first", "{ended}");
    assert!(ended.stderr.contains("Input/output error"), "{ended}");
}

#[test]
fn the_disk_of_any_other_container_works() {
    assert_eq!(sync_twice(None).stdout.trim(), "first\nsecond");
}

#[test]
fn a_container_whose_annotation_makes_no_sense_is_refused() {
    let ended = sync_twice(Some("often"));
    assert!(ended.stderr.contains("Operation not permitted"), "{ended}");
}
