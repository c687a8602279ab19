//! Containers that are killed by a call. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use seccomp_agent_agent::{Config, Engine};
use seccomp_agent_handlers::KillContainer;
use seccomp_agent_notify::Listener;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_registry::{Container, Registry};

/// What becomes of a container that makes a directory, if its init is said to be what `init` says of its shell's pid.
/// All that it has started is gone then, of which one program would run for so many seconds.
fn ran(seconds: u32, init: impl FnOnce(u32) -> u32) -> Output {
    let mut registry = Registry::new();
    for name in ["mkdir", "mkdirat"] {
        // Not every architecture has both.
        let _known = registry.on(name, KillContainer::new());
    }
    let names: Vec<_> = registry.names().into_iter().collect();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWPID).unwrap();
        let listener = support::install(&names, Flags::empty());
        let mut shell = Command::new("/bin/busybox");
        // In a child of the shell; another one holds the output open for as long as it lives.
        let script = format!("(sleep {seconds} & mkdir /tmp/never 2>&1; echo $?); exit 3");
        shell.args(["sh", "-c", &script]);
        send.send((listener, shell.stdout(Stdio::piped()).spawn().unwrap())).unwrap();
    });
    let (listener, shell): (_, Child) = receive.recv().unwrap();
    let mut container = Container::named("c");
    container.init_pid = init(shell.id());
    let engine = Engine::start(Config::default()).unwrap();
    engine.serve(Listener::new(listener).unwrap(), Arc::new(container), Arc::new(registry)).unwrap();
    shell.wait_with_output().unwrap()
}

#[test]
fn a_container_is_killed_with_all_that_it_runs() {
    let begin = Instant::now();
    let ran = ran(600, |shell| shell);
    assert!(begin.elapsed() < Duration::from_secs(300), "it was waited for");
    assert_eq!(ran.status.signal(), Some(9));
    // The caller's parent may have had a moment to see it killed; the call has not returned.
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(!said.contains("Operation not permitted"), "{said}");
}

#[test]
fn who_is_not_the_containers_init_is_not_killed_and_the_call_fails() {
    let mut other = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
    for init in [0, std::process::id(), other.id(), 1] {
        let ran = ran(1, |_| init);
        let said = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(ran.status.code(), Some(3), "{init}");
        assert!(said.contains("Operation not permitted") && said.ends_with("1\n"), "{init}: {said}");
    }
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
}
