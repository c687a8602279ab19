//! Paths through procfs: the caller's own links mean the caller, nobody's lead to the agent. Needs root and
//! busybox and a C compiler.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use seccomp_agent_handlers::{Attributes, Devices, Directories, Modes, Nodes, Numbers, Owners};
use seccomp_agent_notify::Features;
use seccomp_agent_nsenter::Capabilities;
use seccomp_agent_registry::Registry;
use support::audit::{audited, record};
use support::program::compile;
use support::tree::listing;

fn directories() -> Registry {
    let mut registry = Registry::new();
    registry.on("mkdir", Directories::new()).unwrap();
    registry.on("mkdirat", Directories::new()).unwrap();
    registry
}

/// A root with busybox, a place for procfs, and links into it.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let make = |name: &str| {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(0o777)).unwrap();
    };
    fs::set_permissions(root.path(), PermissionsExt::from_mode(0o777)).unwrap();
    for name in ["bin", "proc", "dev", "w", "w/sub", "other"] {
        make(name);
    }
    support::copy_program("/bin/busybox", root.path().join("bin/busybox"));
    for (link, to) in [
        ("dev/fd", "/proc/self/fd"),
        ("w/to-cwd", "/proc/self/cwd"),
        ("w/to-fd", "../dev/fd/7"),
        ("w/to-self", "/proc/self"),
        ("w/loop", "loop"),
        ("w/chain", "to-cwd/sub"),
        ("w/nowhere", "/proc/self/nothing"),
    ] {
        symlink(to, root.path().join(link)).unwrap();
    }
    root
}

const PATHS: &[&str] = &[
    "/proc/self/cwd/a1",
    "/proc/self/root/w/a2",
    "/proc/thread-self/cwd/a3",
    "/proc/thread-self/root/w/a4",
    "/proc/$$/cwd/a5",
    "/proc/self/fd/7/a6",
    "/dev/fd/7/a7",
    "/dev/fd/8/a8",
    "/dev/fd/99/a9",
    "/proc/self/fd/7/../a10",
    "to-cwd/a11",
    "to-fd/a12",
    "to-self/cwd/a13",
    "to-self/root/w/a14",
    "chain/a15",
    "loop/a16",
    "nowhere/a17",
    "nowhere",
    "/proc/self/a18",
    "/proc/self/cwd",
    "/proc/self",
    "/proc/self/fd/7",
    "/proc/nothing",
    "/proc/self/nothing/a19",
    "/proc/self/task/$$/cwd/a20",
    "/proc/self/../self/cwd/a21",
    "/proc//./self//cwd//a22/",
    "/proc/self/cwd/../w/a23",
    "/proc/self/root/../../w/a24",
    "/proc/self/cwd/to-cwd/to-fd/a25",
    "/proc/self/fd/a26",
    "/proc/self/fd/07/a27",
    "/proc/self/status/a28",
    "/proc/self/cwd/sub/../../../../w/a29",
    "/proc/mounts",
    "/proc/mounts/a30",
    "to-cwd/",
    "to-fd",
];

/// Whose procfs a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Procfs {
    /// That of a pid namespace of its own.
    Own,
    /// That of the agent, in whose pid namespace it is.
    Agents,
}

fn enter(root: &Path) {
    rustix::process::chroot(root).unwrap();
    rustix::process::chdir("/").unwrap();
}

fn enter_with_agents_procfs(root: &Path) {
    support::unshare_mounts();
    rustix::mount::mount_bind_recursive("/proc", root.join("proc")).unwrap();
    enter(root);
}

/// What mkdir says to each path.
fn said(registry: Option<Registry>, root: &Path, procfs: Procfs, uid: u32, paths: &[&str]) -> String {
    let call = |path: &&str| {
        // The shell becomes mkdir, so that $$ is the caller.
        let call = format!("exec /bin/busybox mkdir {path} 2>&1");
        format!("said=$(/bin/busybox sh -c '{call}'); echo '{path}'\": ${{said##*: }}\"; ")
    };
    let script =
        "cd /w; exec 7</other 8</bin/busybox; ".to_owned() + &paths.iter().map(call).collect::<String>();
    let at = root.to_owned();
    let transform = move || {
        let proc = at.join("proc");
        if procfs == Procfs::Own {
            support::unshare_namespaces();
            // A child is inside the new pid namespace, this thread is not. The first one keeps it alive, until
            // the end of its input: that of this process.
            let mut init = Command::new("/bin/busybox");
            init.args(["sh", "-c", "busybox mount -t proc proc $0 && echo && exec cat"]).arg(&proc);
            let mut init = init.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            init.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            std::mem::forget(init);
        } else {
            return enter_with_agents_procfs(&at);
        }
        enter(&at);
    };
    support::script(registry, Features::probe(), uid, transform, script)
}

#[test]
fn the_callers_own_links_mean_the_caller() {
    for (procfs, uid) in [(Procfs::Own, 0), (Procfs::Own, 1000), (Procfs::Agents, 0), (Procfs::Agents, 1000)]
    {
        let (native, emulated) = (root(), root());
        let native_said = said(None, native.path(), procfs, uid, PATHS);
        let emulated_said = said(Some(directories()), emulated.path(), procfs, uid, PATHS);
        for (native, emulated) in native_said.lines().zip(emulated_said.lines()) {
            assert_eq!(native, emulated, "{procfs:?} {uid}");
        }
        assert_eq!(native_said.lines().count(), PATHS.len(), "{native_said}");
        assert_eq!(listing(native.path()), listing(emulated.path()), "{procfs:?} {uid}");
    }
}

#[test]
fn nobodys_links_lead_to_the_agent() {
    let agent = std::process::id();
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let outside_path = outside.path().to_str().unwrap();
    let root = root();
    symlink(format!("/proc/{agent}/root{outside_path}"), root.path().join("w/to-agent")).unwrap();
    let paths: Vec<String> = [
        format!("/proc/{agent}/root{outside_path}/x"),
        format!("/proc/{agent}/cwd/../../../../../..{outside_path}/x"),
        format!("/proc/{agent}/task/{agent}/root{outside_path}/x"),
        "to-agent/x".to_owned(),
        "/proc/self/cwd/to-agent/x".to_owned(),
        format!("/proc/self/root/proc/{agent}/root{outside_path}/x"),
        format!("/proc/1/root{outside_path}/x"),
    ]
    .to_vec();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    // A caller with all capabilities may trace the agent and go there by itself; the agent does not take it.
    for uid in [0, 1000] {
        let attempt = || said(Some(audited(directories())), root.path(), Procfs::Agents, uid, &paths);
        let (said, records) = record(attempt);
        for path in &paths {
            records.assert_refused(&[("handler", "directories"), ("path", path), ("errno", "EACCES")]);
        }
        for line in said.lines() {
            assert!(line.ends_with("Permission denied"), "{uid}: {said}");
        }
        assert_eq!(said.lines().count(), paths.len(), "{said}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
    // What the agent has open is nobody's to know, whether it is there or not.
    let paths = [
        format!("/proc/{agent}/fd/0"),
        format!("/proc/{agent}/fd/9999"),
        format!("/proc/{agent}/fdinfo/0/x"),
    ];
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let attempt = || said(Some(audited(directories())), root.path(), Procfs::Agents, 1000, &paths);
    let (said, records) = record(attempt);
    for path in &paths {
        records.assert_refused(&[("handler", "directories"), ("path", path), ("errno", "EACCES")]);
    }
    assert_eq!(said.matches(": Permission denied\n").count(), paths.len(), "{said}");
}

/// A file of the host that the agent has open.
const CANARY: &str = "canary";

#[test]
fn nothing_of_the_agents_is_changed_whatever_is_granted() {
    let agent = std::process::id();
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(outside.path().join(CANARY), CANARY).unwrap();
    fs::set_permissions(outside.path().join(CANARY), PermissionsExt::from_mode(0o600)).unwrap();
    let open = fs::File::open(outside.path().join(CANARY)).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&open);
    let outside_path = outside.path().to_str().unwrap();
    let before = listing(outside.path());
    let root = root();
    symlink(format!("/proc/{agent}/fd/{number}"), root.path().join("w/to-canary")).unwrap();
    let mut registry = support::emulations();
    for name in ["chmod", "fchmodat", "fchmodat2"] {
        registry.on(name, Modes::granting(Capabilities::FOWNER | Capabilities::FSETID)).unwrap();
    }
    for name in ["chown", "lchown", "fchownat"] {
        registry.on(name, Owners::granting(Numbers::all(), Numbers::all())).unwrap();
    }
    let devices = |is_block| Devices { is_block, major: Numbers::all(), minor: Numbers::all() };
    for name in ["mknod", "mknodat"] {
        registry.on(name, Nodes::granting(vec![devices(false), devices(true)])).unwrap();
    }
    for name in ["setxattr", "removexattr"] {
        registry.on(name, Attributes::granting(["trusted."])).unwrap();
    }
    let targets = [
        format!("/proc/{agent}/fd/{number}"),
        format!("/proc/{agent}/task/{agent}/fd/{number}"),
        format!("/proc/{agent}/root{outside_path}/{CANARY}"),
        format!("/proc/{agent}/cwd/../../../../../..{outside_path}/{CANARY}"),
        "to-canary".to_owned(),
        format!("/proc/{agent}/mem"),
        format!("/proc/{agent}/root"),
        format!("/proc/{agent}/cwd"),
        format!("/proc/{agent}/task"),
        format!("/proc/{agent}/oom_score_adj"),
    ];
    compile("reach", &root.path().join("bin"));
    let script = format!("cd /w; /bin/reach {}; echo all", targets.join(" "));
    for uid in [0, 1000] {
        let (at, registry, script) = (root.path().to_owned(), audited(registry.clone()), script.clone());
        let (said, records) = record(|| {
            let enter = move || enter_with_agents_procfs(&at);
            support::script(Some(registry), Features::probe(), uid, enter, script)
        });
        let handlers = ["modes", "owners", "attributes", "directories", "nodes"];
        for (target, handler) in targets.iter().flat_map(|target| handlers.map(|handler| (target, handler))) {
            records.assert_refused(&[("handler", handler), ("path", target)]);
        }
        for (target, handler) in
            targets.iter().flat_map(|target| [(target, "directories"), (target, "nodes")])
        {
            records.assert_refused(&[("handler", handler), ("path", &format!("{target}/made"))]);
        }
        assert_eq!(records.count(&[("decision", "granted")]), 0, "{records:#?}");
        assert_eq!(said, "all\n", "{uid}");
    }
    assert_eq!(listing(outside.path()), before);
}
