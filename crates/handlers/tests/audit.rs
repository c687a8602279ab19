//! What is written down of decisions.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{CWD, Gid, Mode, Uid, chmodat, chownat, mkdirat};
use seccomp_agent_handlers::{
    AnyCall, Audit, Capabilities, Directories, Executions, FileSystem, Modes, Mount, Numbers, Owners, Pattern,
};
use seccomp_agent_registry::{Call, Container, Errno, Handler, Notification, Registry, Verdict, annotation};
use support::audit::logged;

fn container() -> Container {
    let mut container = Container::named("c1");
    container.annotations.insert(annotation::CONTAINER[0].to_owned(), "web".to_owned());
    container
}

fn audited(name: &str, handler: impl Handler + 'static) -> Registry {
    let mut registry = Registry::new();
    let audit = Audit::of(&container());
    registry.on(name, handler).unwrap().layer(&audit);
    registry
}

fn ask(registry: &Registry, name: &str) -> Verdict {
    registry.answer(&Call::new(&Notification::sample(name), &Container::named("c1")))
}

fn has(line: &str, fields: &[&str]) {
    for field in fields {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[test]
fn each_decision_says_what_was_asked_and_what_became_of_it() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(folder.path());
    let user = support::tree::kinds().into_iter().find(|kind| kind.name == "user").unwrap();
    let mut registry = Registry::new();
    registry.on("mkdirat", Directories::new()).unwrap();
    let owners = Owners::granting([1000..=1000].into_iter().collect(), Numbers::none());
    registry.on("fchownat", owners).unwrap();
    registry.on("fchmodat", Modes::granting(Capabilities::FOWNER)).unwrap();
    registry.layer(&Audit::of(&container()));
    let (tree, list) = (folder.path().to_owned(), Mutex::new(Vec::new()));
    let lines = logged(|| {
        let said = support::run(
            Some(registry),
            move || user.become_it(&tree),
            || {
                let new = mkdirat(CWD, "new\u{1b}", Mode::RWXU);
                let refused = mkdirat(CWD, "readonly/new", Mode::RWXU);
                let given =
                    chownat(CWD, "file", Some(Uid::from_raw(1000)), None, rustix::fs::AtFlags::empty());
                let group = Some(Gid::from_raw(7));
                let kept = chownat(CWD, "file", None, group, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                let mode = chmodat(CWD, "nothing", Mode::RWXU, rustix::fs::AtFlags::empty());
                [new, refused, given, kept, mode]
            },
        );
        list.lock().unwrap().extend(said);
    });
    let said = list.into_inner().unwrap();
    let (access, perm, none) = (Err(Errno::ACCESS), Err(Errno::PERM), Err(Errno::NOENT));
    assert_eq!(said, [Ok(()), access, Ok(()), perm, none]);
    let expected: [&[&str]; 5] = [
        &[r#""decision":"granted""#, r#""path":"new\\u{1b}""#, r#""asked":"mode=0700""#, r#""value":0"#],
        &[r#""decision":"refused""#, r#""path":"readonly/new""#, r#""errno":"EACCES""#],
        &[r#""decision":"granted""#, r#""asked":"user=1000 group=-1""#, r#""why":"listed""#],
        &[r#""decision":"refused""#, "user=-1 group=7", "not listed", "EPERM", r#""handler":"owners""#],
        &[r#""decision":"refused""#, r#""syscall":"fchmodat""#, "ENOENT", r#""handler":"modes""#],
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, fields) in lines.iter().zip(expected) {
        has(line, fields);
        has(line, &[r#""level":"INFO""#, r#""target":"audit""#, r#""container":"c1""#, r#""name":"web""#]);
    }
}

#[test]
fn each_mount_says_what_was_asked_and_what_became_of_it() {
    use nix::mount::MsFlags;
    use support::mounts::{mount, umount};

    let folder = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(folder.path());
    let user = support::tree::kind("user");
    let mut registry = support::mounts::registry(&Mount::granting([FileSystem::Tmpfs]).with_binds());
    registry.layer(&Audit::of(&container()));
    let tree = folder.path().to_owned();
    let lines = logged(|| {
        support::run(
            Some(registry),
            move || {
                support::unshare_mounts();
                user.become_it(&tree);
            },
            || {
                let none = MsFlags::empty();
                mount("x", "mine", "tmpfs", none, "size=1m").unwrap();
                mount("x", "mine", "tmpfs", none, "size=1m,mpol=local").unwrap_err();
                mount("real", "mine", "", MsFlags::MS_BIND, "").unwrap();
                mount("/proc/self/ns", "mine", "", MsFlags::MS_BIND, "").unwrap_err();
                mount("", "mine", "", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, "")
                    .unwrap();
                umount("mine", 2).unwrap();
            },
        );
    });
    let granted = r#""decision":"granted""#;
    let expected: [&[&str]; 6] = [
        &[granted, r#""path":"mine""#, "type=tmpfs", "size=1m", "listed"],
        &[r#""decision":"refused""#, "mpol=local", "EINVAL"],
        &[granted, "Bind", "source=", "real", "binds are granted"],
        &[r#""decision":"refused""#, "/proc/self/ns", "a part of procfs", "EPERM"],
        &[granted, "Remount", "mounted for the container"],
        &[granted, r#""syscall":"umount2""#, "flags=0x2", "mounted for the container"],
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, fields) in lines.iter().zip(expected) {
        has(line, fields);
    }
}

#[test]
fn what_fails_on_the_agents_side_is_a_warning() {
    // Nobody can act for a caller that is not visible.
    let lines = logged(|| {
        assert_eq!(ask(&audited("mkdirat", Directories::new()), "mkdirat"), Verdict::Errno(Errno::PERM));
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    has(&lines[0], &[r#""level":"WARN""#, r#""decision":"failed""#, "not visible", r#""errno":"EPERM""#]);
}

#[test]
fn a_program_of_a_pattern_is_an_alert_whether_it_is_delayed_or_not() {
    let delay = Duration::from_millis(50);
    let executions = Executions::new()
        .alerting([Pattern::new("*/true"), Pattern::new("*/sleep")])
        .delaying(Pattern::new("/bin/s*"), delay);
    let lines = logged(|| {
        support::run(
            Some(audited("execve", executions)),
            || (),
            || {
                for program in ["/bin/true", "/bin/echo", "/bin/sleep"] {
                    assert!(std::process::Command::new(program).arg("0").output().unwrap().status.success());
                }
            },
        );
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let alert = [r#""level":"WARN""#, r#""decision":"alert""#, r#""handler":"exec""#];
    for line in &lines {
        has(line, &alert);
    }
    has(&lines[0], &[r#""path":"/bin/true""#, r#"pattern=\"*/true\""#]);
    has(&lines[1], &[r#""path":"/bin/sleep""#, r#""delay":"50ms""#]);
    assert!(!lines[0].contains("delay"), "{lines:#?}");
}

#[test]
fn what_just_continues_is_not_written_down() {
    let lines =
        logged(|| assert_eq!(ask(&audited("getppid", AnyCall::Continue), "getppid"), Verdict::Continue));
    assert_eq!(lines, [""; 0]);
}

#[test]
fn answers_without_a_look_are_decisions_too() {
    let second = Duration::from_secs(1);
    for (answer, fields) in [
        (AnyCall::Return(7), &[r#""decision":"granted""#, r#""value":7"#][..]),
        (AnyCall::Kill, &[r#""decision":"killed""#]),
        (AnyCall::Delay(second), &[r#""decision":"delayed""#, r#""delay":"1s""#]),
        (AnyCall::Log, &[r#""decision":"logged""#, r#""asked":"args=[0, 0, 0, 0, 0, 0]""#]),
    ] {
        let lines = logged(|| drop(ask(&audited("getppid", answer), "getppid")));
        assert_eq!(lines.len(), 1, "{lines:#?}");
        has(&lines[0], fields);
    }
}

#[test]
fn what_is_worked_out_later_is_written_down_then() {
    let work = |_: &Call<'_>| {
        Verdict::later(|call| {
            call.note(|noted| {
                noted.because("worked out");
            });
            Verdict::Errno(Errno::NOSPC)
        })
    };
    let (notification, container) = (Notification::sample("getppid"), Container::named("c1"));
    let lines = logged(|| {
        let Verdict::Later(work) = ask(&audited("getppid", work), "getppid") else { panic!("it is done") };
        assert_eq!(work(&Call::new(&notification, &container)), Verdict::Errno(Errno::NOSPC));
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    has(&lines[0], &["worked out", "ENOSPC"]);
}

#[test]
fn a_flood_hides_no_other_decision_and_is_counted() {
    let lines = logged(|| {
        let mut registry = Registry::new();
        registry.on("getppid", AnyCall::Errno(Errno::PERM)).unwrap().on("getpid", AnyCall::Kill).unwrap();
        registry.layer(&Audit::of(&Container::named("c1")));
        for _ in 0..1000 {
            assert_eq!(ask(&registry, "getppid"), Verdict::Errno(Errno::PERM));
        }
        assert_eq!(ask(&registry, "getpid"), Verdict::Kill);
    });
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("EPERM"), count("killed")), (100, 1));
    // At the end, since nothing else came.
    has(lines.last().unwrap(), &["left out", r#""left_out":900"#, "refused"]);
}
