//! Profiles made of recordings, enforced by container runtimes.

use std::process::Command;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, binaries};

/// No pipeline: its shell may be interrupted while it is recorded (docs/record.md).
const SCRIPT: &str = "echo one; (echo two); sleep 0.1";

#[test]
fn a_recorded_profile_is_enough_for_the_runtime_that_it_is_for() {
    let bed = Bed::new().unwrap();
    let runtimes = [("runc", Runc::new(&bed).unwrap()), ("crun", Runc::crun(&bed).unwrap())];
    for (name, runtime) in &runtimes {
        for target in [name, "any"] {
            let bundle = || Bundle::new(&bed).unwrap().command(&["sh", "-c", SCRIPT]);
            let profile = bed.path().join("profile.json");
            let mut record = Command::new(binaries::agent().unwrap());
            record.args(["record", "--args", "--for", target, "--output"]).arg(&profile);
            record.arg("--rootfs").arg(bundle().rootfs()).args(["--", "sh", "-c", SCRIPT]);
            let recorded = record.output().unwrap();
            assert!(recorded.status.success(), "{recorded:?}");
            let profile: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
            for bundle in [bundle(), bundle().new_privileges()] {
                let bundle = bundle.seccomp(profile.clone());
                let ended = runtime.run(&runtime.unused_id("recorded"), &bundle).unwrap();
                let said = (ended.success(), ended.stdout.as_str());
                assert_eq!(said, (true, "one\ntwo\n"), "{name} for {target}: {ended}");

                let id = runtime.unused_id("recorded");
                runtime.start(&id, &bundle.command(&["sleep", "60"])).unwrap();
                let ended = runtime.exec(&id, &["sh", "-c", SCRIPT]).unwrap();
                assert_eq!(ended.stdout, "one\ntwo\n", "exec by {name} for {target}: {ended}");
                runtime.delete(&id).unwrap();
            }
        }
    }
}

#[test]
fn containers_start_under_the_profile_that_is_for_recording_them() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--log-level", "debug"]).unwrap();
    let runtimes = [("runc", Runc::new(&bed).unwrap()), ("crun", Runc::crun(&bed).unwrap())];
    for (name, runtime) in &runtimes {
        let mut new = Command::new(binaries::agent().unwrap());
        new.args(["profile", "new", "--record", "web", "--for", name, "--listener-path"]).arg(bed.socket());
        let made = new.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        assert_eq!(String::from_utf8_lossy(&made.stderr).contains("write"), *name == "runc", "{made:?}");
        let profile: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let bundle = Bundle::new(&bed).unwrap().seccomp(profile).command(&["sh", "-c", SCRIPT]);
        let id = runtime.unused_id("to-record");
        let ended = runtime.run(&id, &bundle).unwrap();
        assert_eq!(ended.stdout, "one\ntwo\n", "{name}: {ended}\n{}", daemon.log());
        assert!(daemon.logs(&[&id, "RECORD=web"]), "{name}: {}", daemon.log());
    }
}
