//! Programs that people mount with, in a container of runc without `CAP_SYS_ADMIN` that is granted mounts: the rows of
//! the table in `docs/mounting.md` that work.

use std::path::Path;

use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, binaries, profile};

use crate::mounting_alike::NOTIFIED;

const POLICY: &str = "version: 1
rules:
  - name: all
    match: {}
    grant:
      mount: [proc, sysfs, tmpfs, overlay, devpts, mqueue, fuse, bind, propagation]
";

/// Mounts of every kind by the programs `$mount` and `$umount`.
const EVERYTHING: &str = "
$mount -t proc proc p && test -e p/self/comm && $umount p && echo proc
$mount -t sysfs s p && test -e p/class && $umount p && echo sysfs
$mount -t devpts -o newinstance d p && test -e p/ptmx && $umount p && echo devpts
$mount -t mqueue q p && $umount p && echo mqueue
$mount -t tmpfs -o size=1m,mode=711,noatime,nosuid x t && stat -c %a t
grep -c ' /w/t rw,nosuid,nodev,noatime ' /proc/self/mountinfo
$mount -o remount,ro t && grep -c ' /w/t ro,nosuid' /proc/self/mountinfo; $mount -o remount,rw t
mkdir t/lower t/upper t/work; echo below > t/lower/file
$mount -t overlay -o lowerdir=t/lower,upperdir=t/upper,workdir=t/work o o && cat o/file && $umount o
$mount --bind t/lower b && cat b/file && $mount -o remount,bind,ro b && ! touch b/x 2>/dev/null && $umount b && echo bind
$mount --rbind t b && $mount --make-private b && $mount --make-rslave b && $umount -l b && echo rbind
$mount --move t b && grep -c ' /w/b rw' /proc/self/mountinfo && $mount --move b t
$umount t && ! $umount t 2>/dev/null && ! $mount -t tmpfs x nothing 2>/dev/null && grep -c ' /w/' /proc/self/mountinfo
";

const EVERYTHING_WORKS: &str = "proc\nsysfs\ndevpts\nmqueue\n711\n1\n1\nbelow\nbelow\nbind\nrbind\n1\n0\n";

/// What a script prints in such a container, and what the agent has logged; with programs of a newer Debian.
fn run(script: &str) -> (String, String) {
    run_with(&binaries::newer_debian().unwrap().join("usr"), script)
}

/// The same, with the programs of a `usr`.
fn run_with(usr: &Path, script: &str) -> (String, String) {
    let bed = Bed::new().unwrap();
    let agent = Daemon::with_policy(&bed, POLICY).unwrap();
    // Older versions of util-linux keep a table of their own below the second.
    let script = format!("mkdir /w /run; cd /w; mkdir p t o b\n{script}\ntrue");
    let bundle = Bundle::new(&bed).unwrap().with_sysfs().covering_proc().with_device("/dev/fuse", 10, 229);
    let bundle = bundle.with_usr(usr).unwrap().seccomp(profile::notifying(&NOTIFIED, agent.socket()));
    let runc = Runc::new(&bed).unwrap();
    let ended = runc.run(&runc.unused_id("programs"), &bundle.command(&["sh", "-c", &script])).unwrap();
    assert!(ended.success(), "{ended}\n{}", agent.log());
    (ended.stdout + &ended.stderr, agent.log())
}

#[test]
fn busybox_mounts_everything() {
    let (said, log) = run(&format!("mount='busybox mount' umount='busybox umount'\n{EVERYTHING}"));
    assert_eq!(said, EVERYTHING_WORKS, "{log}");
}

#[test]
fn the_machines_util_linux_mounts_everything() {
    let script = format!("mount=/usr/bin/mount umount=/usr/bin/umount\n{EVERYTHING}");
    let (said, log) = run_with(Path::new("/usr"), &script);
    assert_eq!(said, EVERYTHING_WORKS, "{log}");
}

#[test]
fn util_linux_of_today_mounts_everything_by_the_calls_of_today() {
    let (said, log) = run(&format!("mount=/usr/bin/mount umount=/usr/bin/umount\n{EVERYTHING}"));
    assert_eq!(said, EVERYTHING_WORKS, "{log}");
    for call in ["fsopen", "fsconfig", "fsmount", "move_mount"] {
        assert!(log.contains(&format!("syscall={call} ")), "{call}: {log}");
    }
}

#[test]
fn unshare_makes_a_user_namespace_in_which_everybody_mounts() {
    let script = "
        /usr/bin/unshare -r /bin/id -u
        /usr/bin/unshare -rm sh -c '/usr/bin/mount -t tmpfs x t && /usr/bin/mount --bind t b && echo mounted'
        /usr/bin/unshare -rmpf --mount-proc sh -c 'ls /proc | grep -x 1; cat /proc/interrupts; ls /proc/bus'
        grep -c ' /w/' /proc/self/mountinfo
    ";
    let (said, log) = run(script);
    assert_eq!(said, "0\nmounted\n1\n0\n", "{log}");
}

#[test]
fn bubblewrap_makes_a_sandbox() {
    let script = "
        /usr/bin/bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --dir /tmp/x --symlink a /tmp/b \
            sh -c 'ls /tmp; touch /w/x 2>/dev/null || echo read-only; echo > /dev/null && echo devices'
    ";
    let (said, log) = run(script);
    assert_eq!(said, "b\nx\nread-only\ndevices\n", "{log}");
}

#[test]
fn a_file_system_of_fuse_is_served_and_unmounted() {
    let script = "
        mkdir -p from to /run/mount /var/lock /etc; echo content > from/file
        /usr/bin/bindfs -f --no-allow-other --perms=a-w from to & server=$!
        until grep -q ' /w/to ' /proc/self/mountinfo; do kill -0 $server || exit; sleep 0.05; done
        cat to/file; stat -c %a to/file; echo more > from/file; cat to/file
        grep -o ' /w/to rw,nosuid,nodev,[a-z]* - fuse /w/from rw,user_id=0,group_id=0' /proc/self/mountinfo
        /usr/bin/fusermount3 -u to && wait $server; echo ended: $?
        /usr/bin/bindfs from to && cat to/file && umount to
        grep -c ' /w/to ' /proc/self/mountinfo
    ";
    let (said, log) = run_with(Path::new("/usr"), script);
    let table = " /w/to rw,nosuid,nodev,relatime - fuse /w/from rw,user_id=0,group_id=0";
    assert_eq!(said, format!("content\n444\nmore\n{table}\nended: 0\nmore\n0\n"), "{log}");
}
