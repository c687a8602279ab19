//! What containers of runc must not get by mounting, and what they leave behind. What a caller alone can try is tested
//! beside the handlers.

use std::fs;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, eventually, profile};

use crate::mounting_alike::NOTIFIED;

const POLICY: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      mount: [proc, overlay, bind, propagation, {type: tmpfs, options: [size]}]
";

fn bed() -> (Bed, Daemon, Bundle) {
    let bed = Bed::new().unwrap();
    let agent = Daemon::with_policy(&bed, POLICY).unwrap();
    let seccomp = profile::notifying(&NOTIFIED, agent.socket());
    let bundle = Bundle::new(&bed).unwrap().covering_proc().seccomp(seccomp);
    (bed, agent, bundle)
}

/// A name that the mounts of this test alone have.
fn unused_source() -> String {
    format!("attack-{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "-")
}

/// No mount of this source is in the namespaces of the host, of this process and of the agent.
#[track_caller]
fn assert_not_on_the_host(source: &str, agent: &Daemon) {
    for process in ["1".to_owned(), "self".to_owned(), agent.pid().to_string()] {
        let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
        assert!(!table.contains(source), "{process}: {table}\n{}", agent.log());
    }
}

#[test]
fn the_hosts_processes_are_no_way_to_the_host() {
    let (bed, agent, bundle) = bed();
    let (source, pid) = (unused_source(), agent.pid());
    let script = format!(
        "mkdir /a /b; ln -s /proc/{pid}/root /up; ln -s /proc/1/root/tmp /host
        for at in /proc/{pid}/root /proc/{pid}/root/tmp /proc/{pid}/cwd /proc/1/root/tmp /proc/1/cwd /up /up/tmp /host \
            /a/../../../proc/{pid}/task/{pid}/root/tmp
        do
            mount -t tmpfs {source} $at 2>/dev/null && echo mounted on $at
            mount --bind $at /a 2>/dev/null && echo bound $at
            mount -t overlay -o lowerdir=$at:/b {source} /a 2>/dev/null && echo layer $at
            probe mounts \"new tmpfs $at 0 source={source}\" | grep ok
        done
        mount -t tmpfs {source} /proc/{pid} && mount -t tmpfs {source} /proc/self && echo on their own
        mount -t tmpfs {source} /a && echo is still served; true"
    );
    let runc = Runc::new(&bed).unwrap();
    let id = runc.unused_id("attack");
    let bundle = bundle.with_the_hosts_processes().command(&["sh", "-c", &script]);
    let ended = runc.run(&id, &bundle).unwrap();
    assert_eq!(ended.stdout, "on their own\nis still served\n", "{ended}\n{}", agent.log());
    assert_not_on_the_host(&source, &agent);
    assert!(agent.logs(&[&id, "refused", &format!("/proc/{pid}/root"), "EACCES"]), "{}", agent.log());
}

#[test]
fn refusals_of_either_way_to_mount_are_written_down_and_mounts_are_bounded() {
    let (bed, agent, bundle) = bed();
    let source = unused_source();
    let script = format!(
        "mkdir /a; i=0; while [ $i -lt 520 ]; do echo mount {source} /a tmpfs 0 -; i=$((i+1)); done > /steps
        probe mounts \"$(cat /steps)\" | cut -d'>' -f2 | sort | uniq -c
        probe mounts 'new tmpfs /a 0 mode=777
new tmpfs /a 0
new proc / 0
new overlay /a 0'"
    );
    let runc = Runc::new(&bed).unwrap();
    let id = runc.unused_id("bounded");
    let ended = runc.run(&id, &bundle.command(&["sh", "-c", &script])).unwrap();
    let said: Vec<_> = ended.stdout.lines().map(str::trim).collect();
    let expected = [
        "8  No space left on device (os error 28)",
        "512  ok",
        "new tmpfs /a 0 mode=777 -> fsconfig: Invalid argument (os error 22)",
        "new tmpfs /a 0 -> move_mount: No space left on device (os error 28)",
        "new proc / 0 -> move_mount: Operation not permitted (os error 1)",
        "new overlay /a 0 -> fsopen: Function not implemented (os error 38)",
    ];
    assert_eq!(said, expected, "{ended}\n{}", agent.log());
    for words in [
        ["syscall=mount ", "ENOSPC", "too many mounts"],
        ["syscall=fsconfig ", "EINVAL", "mode"],
        ["syscall=move_mount ", "ENOSPC", "too many mounts"],
        ["syscall=move_mount ", "EPERM", "the root of all"],
        ["syscall=fsopen ", "ENOSYS", "by mount only"],
    ] {
        let [call, errno, why] = words;
        assert!(agent.logs(&[&id, "decision=\"refused\"", call, errno, why]), "{words:?}: {}", agent.log());
    }
    assert_not_on_the_host(&source, &agent);
}

#[test]
fn containers_that_are_killed_while_they_mount_leave_nothing() {
    let (bed, agent, bundle) = bed();
    let source = unused_source();
    let script = format!(
        "mkdir /a /b; while true; do
            mount -t proc {source} /a; mount -t tmpfs {source} /b; mount --bind /b /b; mount -o remount,ro /b
            umount /b; umount /b; umount -l /a; probe mounts 'new proc /a 0 source={source}'; umount /a
        done"
    );
    let bundle = bundle.command(&["sh", "-c", &script]);
    let runc = Runc::new(&bed).unwrap();
    let killed = |after| {
        let id = runc.unused_id("killed");
        runc.start(&id, &bundle).unwrap();
        let is_mounting = || agent.logs(&[&id, "granted", "syscall=umount2"]);
        assert!(eventually(Duration::from_secs(10), is_mounting), "{}", agent.log());
        std::thread::sleep(Duration::from_millis(after));
        runc.delete(&id).unwrap();
    };
    // Each of them is served: nobody waits for the dead.
    for after in 0..=8 {
        killed(after);
    }
    assert_not_on_the_host(&source, &agent);
}
