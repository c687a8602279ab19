//! What `--resolver demo-basic` does for a container.

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, profile};

/// Runs `command` with the calls `notified` answered by demo-basic; also gives the pid of the container's init.
fn run(notified: &[&str], command: &[&str]) -> (Ended, u32) {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let bundle =
        Bundle::new(&bed).unwrap().seccomp(profile::notifying(notified, daemon.socket())).command(command);
    let ended = runc.run(&runc.unused_id("demo"), &bundle).unwrap();
    let pid = bundle.init_pid().unwrap_or_else(|error| panic!("{error:#}: {ended}\n{}", daemon.log()));
    (ended, pid)
}

#[test]
fn mkdir_gives_a_directory_with_the_inits_pid_in_its_name() {
    let (ended, pid) = run(&["mkdir", "mkdirat"], &["sh", "-c", "mkdir /abc; ls -d /abc*"]);
    assert_eq!(ended.stdout.trim(), format!("/abc-pid-{pid}"), "{ended}");
}

#[test]
fn mkdir_keeps_umask_owner_and_directory_of_the_caller() {
    let script =
        "umask 027; cd /tmp; mkdir abc; mkdir abc; mkdir /nowhere/x; stat -c '%a %u %g %n' /tmp/abc*";
    let (ended, pid) = run(&["mkdir"], &["sh", "-c", script]);
    assert_eq!(ended.stdout.trim(), format!("750 0 0 /tmp/abc-pid-{pid}"), "{ended}");
    assert!(ended.stderr.contains("File exists"), "{ended}");
    assert!(ended.stderr.contains("No such file or directory"), "{ended}");
}

#[test]
fn mkdir_is_done_with_the_rights_of_its_caller() {
    let script = "chmod 1777 /tmp; probe as 1000 1001 mkdir /denied; probe as 1000 1001 mkdir /tmp/own; \
                  stat -c '%u %g' /tmp/own*; ls -d /denied*";
    let (ended, _) = run(&["mkdir"], &["sh", "-c", script]);
    assert!(ended.stderr.contains("'/denied': Permission denied"), "{ended}");
    assert_eq!(ended.stdout.trim(), "1000 1001", "{ended}");
}

#[test]
fn the_profile_to_start_from_is_answered_in_full() {
    let text = include_str!("../../docs/profiles/notify.json");
    let mut seccomp: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(seccomp["listenerPath"], "/run/seccomp-agent.socket");
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic", "--log-level", "debug"]).unwrap();
    seccomp["listenerPath"] = daemon.socket().to_str().into();
    let runc = Runc::new(&bed).unwrap();
    let script = "mkdir /abc && mount -t proc proc /root && cat /root/1/comm && umount /root \
                  && probe mounts 'new proc /root 0' && chmod 777 /";
    let bundle = Bundle::new(&bed).unwrap().seccomp(seccomp.clone()).command(&["sh", "-c", script]);
    let ended = runc.run(&runc.unused_id("notify-json"), &bundle).unwrap();
    assert_eq!(ended.stdout, "sh\nnew proc /root 0 -> ok\n", "{ended}\n{}", daemon.log());
    assert!(ended.stderr.contains("Bad message"), "{ended}");
    assert!(daemon.logs(&[seccomp["listenerMetadata"].as_str().unwrap()]), "{}", daemon.log());
}

#[test]
fn chmod_fchmod_and_fchmodat_fail_with_ebadmsg() {
    let ways = "chmod,fchmod,fchmodat";
    let (ended, _) = run(&["chmod", "fchmod", "fchmodat"], &["probe", "chmod", "--by", ways, "/"]);
    let said: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(
        said,
        [
            "chmod: Bad message (os error 74)",
            "fchmod: Bad message (os error 74)",
            "fchmodat: Bad message (os error 74)"
        ],
        "{ended}"
    );
}

#[test]
fn fchmodat2_fails_with_ebadmsg_when_its_listener_is_handed_over_without_runc() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    let runc = Runc::new(&bed).unwrap();
    let hand_over = "probe hand-over --socket /agent.socket --id by-hand --syscall fchmodat2";
    let command: Vec<_> =
        hand_over.split(' ').chain(["/bin/probe", "chmod", "--by", "fchmodat2", "/"]).collect();
    let bundle = Bundle::new(&bed).unwrap().bind(daemon.socket(), "/agent.socket").command(&command);
    let ended = runc.run(&runc.unused_id("fchmodat2"), &bundle).unwrap();
    assert_eq!(ended.stdout.trim(), "fchmodat2: Bad message (os error 74)", "{ended}\n{}", daemon.log());
}

#[test]
fn proc_is_mounted_for_a_container_without_cap_sys_admin() {
    let script =
        "mount -t proc proc /root && cat /root/self/cmdline | tr '\\0' ' '; cd /root; echo; echo [0-9]*";
    let (ended, _) = run(&["mount"], &["sh", "-c", script]);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(ended.success() && lines.len() == 2, "{ended}");
    assert!(lines[0].starts_with("cat /root/self/cmdline"), "{ended}");
    assert!(lines[1].split(' ').all(|pid| pid.parse::<u32>().unwrap() < 20), "{ended}");
}

#[test]
fn a_mount_that_is_not_granted_is_refused_as_the_kernel_does() {
    let (ended, _) = run(&["mount"], &["sh", "-c", "mount -t tmpfs none /root; mount -t proc proc /nowhere"]);
    assert!(ended.stderr.contains("permission denied"), "{ended}");
    assert!(ended.stderr.contains("No such file or directory"), "{ended}");
}

#[test]
fn a_held_execve_delays_its_caller_alone() {
    let (ended, _) = run(&["execve", "getppid"], &["probe", "exec-beside-thread", "/bin/true"]);
    let numbers: Vec<u64> =
        ended.stdout.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    let [held, calls, longest] = numbers[..] else { panic!("{ended}") };
    assert!((2000..4000).contains(&held), "{ended}");
    assert!(calls > 100 && longest < 500, "{ended}");
}

#[test]
fn calls_that_no_handler_wants_go_on() {
    let notified = ["uname", "getuid", "geteuid", "openat", "read", "close"];
    let (ended, _) = run(&notified, &["sh", "-c", "uname -s; id -u; cat /proc/sys/kernel/hostname"]);
    assert_eq!(ended.stdout, "Linux\n0\ncontainer\n", "{ended}");
}
