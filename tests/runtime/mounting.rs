//! Mounts that are made for containers of a runtime, which covers parts of their procfs and sysfs.

use seccomp_agent_tests::{Bed, Bundle, Daemon, Ended, Runc, profile};

const POLICY: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      mount: [proc, sysfs, mqueue, overlay, bind, {type: tmpfs, options: [size, mode]}]
";

/// Runs a script in a container of runc, without `CAP_SYS_ADMIN`, with the default covers.
fn run(policy: &str, script: &str) -> Ended {
    let bed = Bed::new().unwrap();
    let agent = Daemon::with_policy(&bed, policy).unwrap();
    let seccomp = profile::notifying(&["mount", "umount2"], agent.socket());
    let bundle = Bundle::new(&bed).unwrap().seccomp(seccomp).covering_proc().command(&["sh", "-c", script]);
    let runc = Runc::new(&bed).unwrap();
    let ended = runc.run(&runc.unused_id("mounting"), &bundle).unwrap();
    assert!(ended.success(), "{ended}\n{}", agent.log());
    ended
}

#[test]
fn a_new_procfs_has_the_covers_of_the_first_for_good() {
    let script = "
        mkdir /a; mount -t proc proc /a || exit 1
        for entry in interrupts bus; do test -s /a/$entry && ls /a/$entry | grep -q . && echo $entry shows; done
        cat /a/interrupts /proc/interrupts; ls /a/bus
        echo x > /a/sys/kernel/hostname && echo written
        umount /a/bus; umount -l /a/interrupts; mount -o remount,bind,rw /a/sys && echo remounted
        test $(cat /a/self/comm) = cat && echo own
        cd /a; umount -l /a; cat interrupts; ls bus; ls /a | wc -l
    ";
    assert_eq!(run(POLICY, script).stdout, "own\n0\n");
}

#[test]
fn everyday_mounts_work_in_a_container() {
    let script = "
        mkdir /t /o /b; mount -t tmpfs -o size=1m,mode=711 t /t && stat -c '%a %u' /t
        mkdir /t/lower /t/upper /t/work; echo below > /t/lower/file
        cd /t; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work o /o && echo above > /o/file
        cat /o/file /t/lower/file /t/upper/file
        mount --bind /t/lower /b && cat /b/file; mount -o remount,ro,bind /b; echo x > /b/file || echo refused
        mount -t proc proc /proc && mount -t proc proc /proc && umount /proc && umount /proc && echo stacked
        cd /; umount /b && umount /o && umount /t && ls /t /o /b | grep -c file
        umount /proc || echo stays; mount -t ramfs r /t || echo not listed
        true
    ";
    let said = run(POLICY, script);
    let expected = "711 0\nabove\nbelow\nabove\nbelow\nrefused\nstacked\n0\nstays\nnot listed\n";
    assert_eq!(said.stdout, expected, "{said}");
}

#[test]
fn without_a_grant_everything_fails_as_without_an_agent() {
    let script =
        "mkdir /t; mount -t tmpfs t /t; mount -t proc p /t; mount --bind /bin /t; umount /proc; true";
    let said = run("version: 1\nrules: [{name: all, match: {}}]\n", script);
    let refused = said.stderr.lines().filter(|line| line.to_lowercase().contains("permi")).count();
    assert_eq!(refused, 4, "{said}");
}
