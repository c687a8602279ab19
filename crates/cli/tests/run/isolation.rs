//! What the command sees and may do.

use crate::support::{field, is_root, rootfs, run, shell};

/// Of Docker: `CAP_CHOWN`, … `CAP_SETFCAP`.
const CONTAINER: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

#[test]
fn the_command_sees_its_own_processes_only() {
    let said =
        shell(&[], "echo $$; ls /proc | grep -c '^[0-9]'; readlink /proc/self/ns/ipc /proc/self/ns/uts");
    let mut lines = said.stdout.lines();
    assert_eq!(lines.next(), Some("2"), "{said:?}");
    assert!(lines.next().unwrap().parse::<u32>().unwrap() <= 5, "{said:?}");
    for namespace in lines {
        let kind = namespace.split(':').next().unwrap();
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(own.to_str(), Some(namespace));
    }
}

#[test]
fn capabilities_are_those_of_a_container_and_are_added_and_dropped() {
    for (options, bounding) in [
        (&[][..], CONTAINER),
        (&["--cap-add", "NET_ADMIN"], "00000000a80435fb"),
        (&["--cap-drop", "cap_kill", "--cap-drop", "chown"], "00000000a80425da"),
        (&["--cap-drop", "ALL"], NONE),
        (&["--cap-drop", "ALL", "--cap-add", "CHOWN"], "0000000000000001"),
    ] {
        let said = run(&[options, &["--", "cat", "/proc/self/status"]].concat());
        for set in ["CapBnd", "CapPrm", "CapEff"] {
            assert_eq!(field(&said, set), bounding, "{options:?} {set}");
        }
        assert_eq!((field(&said, "CapInh"), field(&said, "CapAmb")), (NONE, NONE), "{options:?}");
    }
}

#[test]
fn new_privileges_are_out_of_reach_unless_asked_for() {
    let status = ["--", "cat", "/proc/self/status"];
    let said = run(&status);
    assert_eq!((field(&said, "NoNewPrivs"), field(&said, "Seccomp")), ("1", "2"));
    let said = run(&[&["--new-privs"][..], &status].concat());
    assert_eq!((field(&said, "NoNewPrivs"), field(&said, "Seccomp")), ("0", "2"));
    // What the filter took is not left over.
    assert_eq!((field(&said, "CapEff"), field(&said, "CapBnd")), (CONTAINER, CONTAINER));
}

#[test]
fn a_user_has_its_groups_and_no_capabilities_but_those_added() {
    if !is_root() {
        return;
    }
    let status = ["--", "cat", "/proc/self/status"];
    for (user, uid, gid, groups) in
        [("1000", "1000", "1000", ""), ("1000:7", "1000", "7", ""), ("5:6,7,8", "5", "6", "7 8")]
    {
        for more in [&[][..], &["--new-privs"]] {
            let said = run(&[more, &["--user", user], &status].concat());
            assert_eq!(field(&said, "Uid").split_whitespace().next(), Some(uid));
            assert_eq!(field(&said, "Gid").split_whitespace().last(), Some(gid));
            assert_eq!(field(&said, "Groups"), groups);
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(field(&said, set), NONE, "{user} {set}");
            }
        }
    }
    let said = run(&[&["--user", "5", "--cap-add", "net_raw"][..], &status].concat());
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&said, set), "0000000000002000", "{set}");
    }
}

#[test]
fn a_capability_that_we_lack_is_refused_by_name() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    let own = u64::from_str_radix(own.trim(), 16).unwrap();
    if !is_root() || own & (1 << 24) != 0 {
        return;
    }
    let said = run(&["--cap-add", "SYS_RESOURCE", "true"]);
    assert_eq!(said.status, Some(125));
    assert!(said.stderr.contains("CAP_SYS_RESOURCE"), "{said:?}");
}

#[test]
fn a_root_filesystem_has_the_usual_devices_and_nothing_of_the_host() {
    let root = rootfs();
    let root = root.path().to_str().unwrap();
    let script = "pwd; ls /; ls /dev; echo gone >/dev/null; head -c 3 /dev/zero | cat -v; echo; \
                  test -e /dev/fd/0 && test -c /dev/ptmx && echo links; hostname; grep -c ' / / ' /proc/self/mountinfo";
    let said = shell(&["--rootfs", root, "--name", "box"], script);
    let lines: Vec<_> = said.stdout.lines().collect();
    let devices = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let expected: Vec<_> = ["/", "bin", "dev", "proc", "sys"]
        .into_iter()
        .chain(devices.split(' '))
        .chain(["^@^@^@", "links", "box"])
        .collect();
    assert_eq!(lines[..expected.len()], expected, "{said:?}");
    assert_eq!(said.stderr, "");
}

#[test]
fn a_root_filesystem_may_be_full_of_links_that_lead_out() {
    let root = rootfs();
    std::os::unix::fs::symlink("/bin", root.path().join("sys")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("dev")).unwrap();
    let said = run(&["--rootfs", root.path().to_str().unwrap(), "true"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn paths_are_masked_and_read_only_as_the_runtimes_do() {
    let root = rootfs();
    let with_root = ["--rootfs", root.path().to_str().unwrap()];
    for options in [&[][..], &with_root] {
        let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 1; ls /sys/firmware; \
                      for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/x; do \
                      (echo x > $f) 2>/dev/null && echo wrote $f; done; echo end";
        let said = shell(options, script);
        assert_eq!(said.stdout, "end\n", "{options:?}: {said:?}");
    }
    let said = shell(&with_root, "(echo x >/sys/kernel/uevent_seqnum) 2>&1");
    assert!(said.stdout.contains("ead-only") || said.stderr.contains("ead-only"), "{said:?}");
}

#[test]
fn no_descriptor_of_ours_or_of_our_parents_is_left_to_the_command() {
    // The shell opens 7; `ls` opens one to read the directory.
    let mut command = std::process::Command::new("sh");
    let script = "exec 7</etc/passwd; exec \"$0\" run --resolver demo-basic -- ls /proc/self/fd";
    let said = crate::support::finish(command.args(["-c", script, env!("CARGO_BIN_EXE_seccomp-agent")]));
    assert_eq!(said.stdout, "0\n1\n2\n3\n", "{said:?}");
}

#[test]
fn the_program_that_init_runs_is_not_to_be_had() {
    let said = shell(
        &[],
        "(cat /proc/1/exe | head -c 4; cat /proc/1/environ | head -c 4) 2>&1; ls -l /proc/1/cwd 2>&1",
    );
    assert!(said.stdout.matches("ermission denied").count() >= 3, "{said:?}");
}
