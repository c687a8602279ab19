//! Mounts for callers in a user namespace of their own. Needs root, busybox and util-linux.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use seccomp_agent_handlers::{FileSystem, FileSystemGrant, Mount, Numbers};
use seccomp_agent_registry::Registry;
use support::audit::{audited, record};
use support::block_device::BlockDevice;
use support::inside::{FIRST, Keeps};
use support::mounts::table;

/// Makes a root, and covers parts of both, as runtimes do.
const COVER: &str = "mount -t tmpfs none /mnt && cd /mnt && mkdir usr tmp dev proc sys old && \
                     for folder in bin lib lib64 sbin; do ln -s usr/$folder $folder; done && \
                     for folder in usr tmp dev; do mount --rbind /$folder $folder || exit; done && \
                     mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && \
                     mount --bind /dev/null proc/interrupts && mount -t tmpfs -o ro none proc/bus && \
                     mount -t tmpfs -o ro none sys/firmware && pivot_root . old && umount -l /old && \
                     cd / && echo ready && exec sleep 600";

/// A container of a user namespace: with mount, pid, net, ipc and cgroup namespaces that belong to it, and a procfs and
/// a sysfs of its own of which parts are covered.
struct Inside {
    _keeps: Keeps,
    outer: Child,
    init: String,
}

impl Inside {
    fn start() -> Self {
        let keeps = Keeps::new();
        let mut enter = keeps.enter();
        enter.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--cgroup"]);
        enter.args(["/bin/busybox", "sh", "-c", COVER]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut outer = enter.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(outer.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let init = fs::read_to_string(children).unwrap().trim().to_owned();
        Self { _keeps: keeps, outer, init }
    }

    /// Runs something in it.
    fn run(&self, command: &str, script: &str) -> String {
        let mut enter = Command::new("nsenter");
        enter.args(["--user", "--mount", "--pid", "--net", "--ipc", "--cgroup", "--root", "--wd"]);
        enter.args(["--setuid", "0", "--setgid", "0", "--target", &self.init]);
        enter.args(command.split_whitespace()).args(["/bin/busybox", "sh", "-c", script]);
        let run = enter.stdin(Stdio::null()).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        String::from_utf8(run.stdout).unwrap()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.outer.kill().unwrap();
        self.outer.wait().unwrap();
    }
}

fn granted() -> Mount {
    Mount::granting(FileSystem::ALL).with_binds().with_propagation()
}

fn registry() -> Registry {
    support::mounts::registry(&granted())
}

/// Of user 0 and 1000 inside.
fn build(root: &Path) {
    for name in ["a", "b", "c", "d", "lower", "upper", "work", "deep", "deep/er"] {
        let at = root.join(name);
        fs::create_dir_all(&at).unwrap();
        fs::set_permissions(&at, PermissionsExt::from_mode(0o777)).unwrap();
        chown(&at, Some(FIRST), Some(FIRST)).unwrap();
    }
    fs::set_permissions(root, PermissionsExt::from_mode(0o777)).unwrap();
    for (name, content) in [("file", "1"), ("lower/both", "one"), ("ours", "of the host's root")] {
        fs::write(root.join(name), content).unwrap();
        let owner = if name == "ours" { 0 } else { FIRST };
        chown(root.join(name), Some(owner), Some(owner)).unwrap();
    }
    symlink("a", root.join("link")).unwrap();
}

/// What a script says that runs in such a container, by way of `wrapper`, and the mounts that it leaves.
fn inside(registry: Option<Registry>, wrapper: &'static str, script: &str) -> (String, Vec<String>) {
    thread_local! {
        static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
    }
    let root = tempfile::tempdir_in("/tmp").unwrap();
    build(root.path());
    let script =
        format!("exec 2>&1; cd {}; {script} echo; busybox cat /proc/self/mountinfo", root.path().display());
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let said = support::run(
        registry,
        || INSIDE.set(Some(Inside::start())),
        move || INSIDE.take().unwrap().run(wrapper, &script),
    );
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "the host's mounts have changed");
    let (said, mounts) = said.split_once("\n\n").unwrap_or((&said, ""));
    (said.replace(root.path().to_str().unwrap(), ""), table(mounts, root.path()))
}

const WITHOUT: &str = "/usr/bin/setpriv --bounding-set -sys_admin";

/// Both must say the same and leave the same behind; without the grant, it is something else.
fn compare(script: &str) {
    for (with, without) in [
        ("", WITHOUT),
        (
            "/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps +sys_admin \
             --ambient-caps +sys_admin",
            "/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -sys_admin",
        ),
    ] {
        let native = inside(None, with, script);
        let emulated = inside(Some(registry()), without, script);
        assert_eq!(native.0, emulated.0, "{with}");
        assert_eq!(native.1, emulated.1, "{with}: {}", native.0);
        assert!(native.0.contains(" 0\n") && !native.1.is_empty(), "{}", native.0);
        assert_ne!(inside(None, without, script).0, native.0, "the capability makes no difference");
    }
}

/// Each of the commands, followed by whether it succeeded.
fn each(commands: &[&str]) -> String {
    let one = |command: &&str| format!("{command}; echo \"{command}\" $?; ");
    commands.iter().map(one).collect::<Vec<_>>().concat()
}

#[test]
fn new_file_systems_belong_to_the_containers_root() {
    compare(&each(&[
        "busybox mount -t tmpfs -o nosuid,nodev,size=1m,mode=711 src a",
        "busybox stat -c %u:%g:%a a",
        "busybox mount -t tmpfs -o uid=1000,gid=7,nosuid,nodev src link",
        "busybox stat -c %u:%g:%a a",
        "busybox mount -t tmpfs -o uid=70000 src b",
        "busybox mount -t devpts -o nosuid,nodev,noexec,newinstance,ptmxmode=666,gid=5 src b",
        "busybox stat -c %u:%g:%a b/ptmx",
        "busybox mount -t mqueue -o nosuid,nodev,noexec src c",
        "busybox stat -c %a c",
        "busybox mount -t tmpfs src nothing",
        "busybox mount -t tmpfs src file",
        "busybox mount -t ext4 src d",
        "busybox umount a",
        "busybox umount a",
        "busybox umount a",
    ]));
}

#[test]
fn overlays_binds_and_changes_are_the_same_natively_and_emulated() {
    compare(&each(&[
        "busybox mount -t overlay -o nosuid,nodev,lowerdir=lower,upperdir=upper,workdir=work o d",
        "busybox cat d/both",
        "busybox stat -c %u:%g:%a d d/both",
        "echo more > d/both",
        "busybox stat -c %u:%g upper/both",
        "busybox mount -t overlay -o nosuid,nodev,lowerdir=lower,upperdir=ours o c",
        "busybox mount --bind lower a",
        "busybox cat a/both",
        "busybox mount -o remount,bind,ro a",
        "busybox touch a/new",
        "busybox mount --bind file ours",
        "busybox cat ours",
        "busybox mount -t tmpfs -o nosuid,nodev,mode=777 src deep/er",
        "busybox mount --rbind deep b",
        "busybox touch b/er/new",
        "busybox mount -o remount,nosuid,nodev,ro,size=2m deep/er",
        "busybox touch deep/er/new",
        "busybox mount -o remount,nosuid,nodev,rw deep/er",
        "busybox touch deep/er/new",
        "busybox mount --make-slave deep/er",
        "busybox umount b",
        "busybox umount -l b",
        "busybox umount nothing",
    ]));
}

/// What is mounted by somebody inside, with the capability and without, and also in a user namespace within.
const NESTED: &str = "/usr/bin/setpriv --bounding-set -sys_admin unshare --user --map-root-user --mount \
                      --pid --fork --net --cgroup";

#[test]
fn what_covers_the_containers_procfs_and_sysfs_covers_new_ones_and_stays() {
    let script = each(&[
        "busybox mount -t proc proc a",
        "busybox ls a/bus",
        "busybox wc -c < a/interrupts",
        "busybox test -e a/self/status",
        "busybox mount -t sysfs sysfs b",
        "busybox ls b/firmware",
        "busybox touch b/class",
        "busybox umount a/bus",
        "busybox umount -l a/bus",
        "busybox mount -o remount,bind,rw,exec,suid,dev a",
        "busybox mount -o remount,bind,rw b",
        "busybox mount --bind a c",
        "busybox mount -t proc -o subset=pid proc c",
        "busybox mount -o remount,subset= c",
    ]);
    // Where the covers came from a user namespace around it, the kernel keeps them too: by mounting neither.
    let native = inside(None, NESTED, &script);
    assert!(native.0.contains("proc proc a 1\n") && native.0.contains("sysfs sysfs b 1\n"), "{}", native.0);
    for wrapper in [WITHOUT, "", NESTED] {
        let (said, mounts) = inside(Some(registry()), wrapper, &script);
        let succeeded = |command: &str| {
            let status = said.lines().find_map(|line| line.strip_prefix(command)?.strip_prefix(' '));
            status.unwrap_or_else(|| panic!("{command}: {said}")) == "0"
        };
        for command in ["busybox mount -t proc proc a", "busybox test -e a/self/status"] {
            assert!(succeeded(command), "{wrapper}: {command}: {said}");
        }
        assert!(succeeded("busybox mount -t sysfs sysfs b"), "{wrapper}: {said}");
        for command in ["busybox touch b/class", "busybox umount a/bus", "busybox umount -l a/bus"] {
            assert!(!succeeded(command), "{wrapper}: {command}: {said}");
        }
        for command in ["busybox mount -o remount,bind,rw b", "busybox mount --bind a c"] {
            assert!(!succeeded(command), "{wrapper}: {command}: {said}");
        }
        assert!(said.contains("\nbusybox ls a/bus 0\n0\nbusybox wc"), "{wrapper}: {said}");
        assert!(said.contains("sysfs sysfs b 0\nbusybox ls b/firmware 0\n"), "{wrapper}: {said}");
        let shown: Vec<_> = mounts.iter().map(|mount| mount.split(' ').take(3).collect::<Vec<_>>()).collect();
        let safe = "nosuid,nodev,noexec,relatime";
        let (proc, sysfs) = (format!("rw,{safe}"), format!("ro,{safe}"));
        for line in [["/a", "/", &proc], ["/b", "/", &sysfs], ["/b/firmware", "/", "ro,relatime"]] {
            assert!(shown.iter().any(|shown| *shown == line), "{wrapper}: {mounts:#?}");
        }
    }
}

/// In a user namespace within, that shows the container's own otherwise.
const WITHIN: &str = "unshare --user --map-root-user --mount ";

#[test]
fn what_is_not_the_user_namespaces_own_is_refused() {
    let leaves_procfs_behind = "--pid --fork /bin/busybox sh -c 'mount -t tmpfs x d && cd d && mkdir usr proc old && \
                                mount --rbind /usr usr && ln -s usr/bin usr/lib usr/lib64 . && pivot_root . old && \
                                cd / && umount -l old && mount -t proc proc proc; echo status $?'";
    let foreign = "it would show a namespace that is not of the caller's user namespace";
    for (script, because) in [
        ("mount -t proc proc a; echo status $?", foreign),
        ("mount -t sysfs sysfs a; echo status $?", foreign),
        (leaves_procfs_behind, "the container has none of its own"),
    ] {
        let script = match script.strip_prefix("mount") {
            Some(rest) => format!("{WITHIN} /bin/busybox sh -c 'mount{rest}';"),
            None => format!("{WITHIN}{script};"),
        };
        let (native, native_mounts) = inside(None, "", &script);
        let ((said, mounts), records) = record(|| inside(Some(audited(registry())), "", &script));
        assert!(said.contains("permission denied") && !said.contains("status 0"), "{said}");
        assert_eq!((&said, &mounts), (&native, &native_mounts), "{script}");
        records.assert_refused(&[("handler", "mount"), ("errno", "EPERM"), ("why", because)]);
    }
}

#[test]
fn without_a_mount_namespace_of_its_own_a_user_namespace_gets_nothing() {
    let script = "unshare --user --map-root-user --pid --fork --net /bin/busybox sh -c \
                  'mount -t proc proc a; mount -t sysfs sysfs b; mount -t tmpfs tmpfs c; mount --bind a b';";
    let native = inside(None, "", script);
    assert_eq!(inside(Some(registry()), "", script), native);
    assert!(native.1.is_empty() && native.0.contains("permission denied"), "{}", native.0);
}

#[test]
fn who_has_to_have_the_capability_is_refused_without_it() {
    let grants = FileSystem::ALL.map(|kind| FileSystemGrant { needs_sys_admin: true, ..kind.into() });
    let granted = || support::mounts::registry(&Mount::granting(grants.clone()));
    let script =
        each(&["busybox mount -t proc proc a", "busybox mount -t tmpfs tmpfs b", "busybox umount a"]);
    let native = inside(None, WITHOUT, &script);
    assert_eq!(inside(Some(granted()), WITHOUT, &script), native);
    assert!(native.0.contains("proc proc a 1\n") && native.1.is_empty(), "{native:?}");
    let (said, mounts) = inside(Some(granted()), "", &script);
    assert!(said.contains("proc proc a 0\n") && said.contains("umount a 0"), "{said}");
    assert_eq!(mounts.len(), 1, "the tmpfs: {mounts:?}");
    // Nobody else unmounts what one that has it has mounted.
    let script = format!("busybox mount -t proc proc a; {WITHOUT} busybox umount a; echo status $?;");
    let (said, mounts) = inside(Some(granted()), "", &script);
    assert!(said.contains("status 1") && mounts.iter().any(|mount| mount.starts_with("/a / ")), "{said}");
}

/// A device that the container's root owns, and what grants an ext4 on it, with or without the device listed.
fn with_device(is_listed: bool, wrapper: &'static str, script: &str) -> (String, support::audit::Records) {
    let (device, folder) = (BlockDevice::new("this"), tempfile::tempdir_in("/tmp").unwrap());
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    device.node(&folder.path().join("node"), FIRST, 0o600);
    let mut devices = device.listed();
    if !is_listed {
        devices[0].minor = Numbers::none();
    }
    let grant = FileSystemGrant { devices, ..FileSystem::Ext4.into() };
    let registry = audited(support::mounts::registry(&Mount::granting([grant])));
    let script = script.replace("NODE", folder.path().join("node").to_str().unwrap());
    let ((said, _), records) = record(|| inside(Some(registry), wrapper, &script));
    (said, records)
}

#[test]
fn what_is_on_a_device_has_the_containers_ids_and_keeps_its_flags() {
    for wrapper in ["", WITHOUT] {
        let (said, records) = with_device(
            true,
            wrapper,
            &each(&[
                "busybox mount -t ext4 NODE a",
                "busybox stat -c %u:%g:%a a a/name",
                "busybox cat a/name",
                "busybox touch a/new",
                "busybox stat -c %u:%g a/new",
                "busybox grep -c nosuid,nodev.*ext4 /proc/self/mountinfo",
                "busybox mount -o remount,bind,suid,dev a",
                "busybox grep -c nosuid,nodev.*ext4 /proc/self/mountinfo",
                "busybox cat a/null",
                "busybox mount -o remount,ro a",
                "busybox umount a",
            ])
            .replace("NODE\" ", "\" "),
        );
        let after = |command: &str| {
            let end = said.find(&format!("{command} 0\n"));
            said[..end.unwrap_or_else(|| panic!("{command}: {said}"))].to_owned()
        };
        assert!(after("busybox stat -c %u:%g:%a a a/name").ends_with("0:0:755\n0:0:644\n"), "{said}");
        assert!(after("busybox cat a/name").ends_with("this\n"), "{said}");
        assert!(after("busybox stat -c %u:%g a/new").ends_with("0:0\n"), "{said}");
        assert_eq!(said.matches("mountinfo 0\n").count(), 2, "{said}");
        assert!(said.contains("cat a/null 1\n") && said.ends_with("umount a 0"), "{said}");
        assert!(!said.contains("remount,ro a 0\n"), "{said}");
        assert!(records.count(&[("decision", "granted"), ("syscall", "mount")]) > 0, "{records:?}");
        if wrapper == WITHOUT {
            records.assert_refused(&[("why", "the file system is of the host's user namespace")]);
        }
    }
}

#[test]
fn a_device_that_is_not_listed_is_not_mounted_inside_either() {
    let (said, records) = with_device(false, "", "busybox mount -t ext4 NODE a; echo $?;");
    assert!(said.contains("permission denied") && said.ends_with("\n1"), "{said}");
    records.assert_refused(&[("why", "the device is not listed")]);
}
