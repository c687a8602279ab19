//! Profiles made of recordings, enforced by container runtimes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, WITHOUT_UNIFIED_CGROUPS, binaries, run_for};
use serde_json::{Value, json};

/// How long a recording may take: none needs a third of it.
const DEADLINE: Duration = Duration::from_secs(60);

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
            let profile: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
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
        let profile: Value = serde_json::from_slice(&made.stdout).unwrap();
        let bundle = Bundle::new(&bed).unwrap().seccomp(profile).command(&["sh", "-c", SCRIPT]);
        let id = runtime.unused_id("to-record");
        let ended = runtime.run(&id, &bundle).unwrap();
        assert_eq!(ended.stdout, "one\ntwo\n", "{name}: {ended}\n{}", daemon.log());
        assert!(daemon.logs(&[&id, "RECORD=web"]), "{name}: {}", daemon.log());
    }
}

#[test]
fn a_bundle_is_recorded_as_it_is_and_not_changed() {
    let bed = Bed::new().unwrap();
    for (name, without_cgroups) in [("runc", &[][..]), ("crun", &WITHOUT_UNIFIED_CGROUPS[..])] {
        // Its own profile would refuse all that the script does.
        let refusing = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        let script = format!("{SCRIPT}; exit 3");
        let bundle = Bundle::new(&bed).unwrap().seccomp(refusing).command(&["sh", "-c", &script]);
        let path = bundle.write().unwrap();
        let before = std::fs::read(path.join("config.json")).unwrap();
        let profile = bed.path().join("profile.json");

        let record = |bundle: &Path| {
            let agent = binaries::agent().unwrap();
            let words = without_cgroups.iter().map(|word| (*word).to_owned());
            let words: Vec<_> = words.chain([agent.to_str().unwrap().to_owned()]).collect();
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(["record", "--for", name, "--runtime", name, "--bundle"]);
            command.arg(bundle).arg("--output").arg(&profile);
            command
        };
        let ended = run_for(DEADLINE, &mut record(path)).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.status.code()), ("one\ntwo\n", Some(3)), "{name}: {ended}");
        assert!(ended.stderr.contains("execve"), "{ended}");
        assert_eq!(std::fs::read(path.join("config.json")).unwrap(), before);

        let runtime = if name == "runc" { Runc::new(&bed).unwrap() } else { Runc::crun(&bed).unwrap() };
        let profile: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
        let ended = runtime.run(&runtime.unused_id("of-bundle"), &bundle.seccomp(profile.clone())).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.status.code()), ("one\ntwo\n", Some(3)), "{name}: {ended}");

        // An init that has no handler for SIGTERM is killed in the end, and nothing is left.
        let bundle = Bundle::new(&bed).unwrap().command(&["sleep", "600"]);
        let path = bundle.write().unwrap();
        let ended = run_for(DEADLINE, record(path).args(["--duration", "3s"])).unwrap();
        assert_eq!(ended.status.code(), Some(137), "{name}: {ended}");
    }
}
