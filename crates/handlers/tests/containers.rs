//! Several containers of one agent: one's grants, and what one waits for, are nothing to the others. Needs root, a C
//! compiler, e2fsprogs and loop devices.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, makedev, mkdirat, mknodat, unlinkat};
use rustix::io::Errno;
use seccomp_agent_agent::{Config, Engine};
use seccomp_agent_handlers::{Audit, Devices, Directories, Nodes};
use seccomp_agent_notify::Listener;
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_registry::{Container, Registry};
use support::audit::records_of;
use support::frozen::Frozen;
use support::program::compile;
use support::tree::{build, kind};

/// One test at a time: they measure.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine() -> Engine {
    Engine::start(Config::default()).unwrap()
}

/// A container that is a thread in a directory of its own; `body` goes on until it is told to end.
fn container<T: Send + 'static>(
    engine: &Engine,
    name: &str,
    root: &Path,
    registry: Registry,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let names: Vec<_> = registry.names().into_iter().collect();
    let (send, receive) = channel();
    let here = root.to_owned();
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        kind("root without capabilities").become_it(&here);
        send.send(support::install(&names, Flags::empty())).unwrap();
        body()
    });
    let listener = Listener::new(receive.recv().unwrap()).unwrap();
    engine.serve(listener, Arc::new(Container::named(name)), Arc::new(registry)).unwrap();
    thread
}

#[test]
fn what_is_granted_to_one_container_is_not_granted_to_another() {
    let _alone = alone();
    records_of("");
    let engine = engine();
    let one = |number: u32| [number..=number].into_iter().collect();
    let null = Devices { is_block: false, major: one(1), minor: one(3) };
    let ended = Arc::new(AtomicBool::new(false));
    let roots = [0; 4].map(|_| tempfile::tempdir_in("/tmp").unwrap());
    let threads: Vec<_> = roots
        .iter()
        .enumerate()
        .map(|(number, root)| {
            build(root.path());
            let granted = number % 2 == 0;
            let mut registry = Registry::new();
            let listed = if granted { vec![null.clone()] } else { vec![] };
            registry.on("mknodat", Nodes::granting(listed)).unwrap();
            let (name, ended) = (format!("container-{number}"), Arc::clone(&ended));
            registry.layer(&Audit::of(&Container::named(&name)));
            container(&engine, &name, root.path(), registry, move || {
                let (mut calls, expected) = (0, if granted { Ok(()) } else { Err(Errno::PERM) });
                while !ended.load(Ordering::Relaxed) {
                    let device = makedev(1, 3);
                    let said = mknodat(CWD, "node", FileType::CharacterDevice, Mode::RWXU, device);
                    assert_eq!(said, expected);
                    let _none = unlinkat(CWD, "node", AtFlags::empty());
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    std::thread::sleep(support::race::race_duration());
    ended.store(true, Ordering::Relaxed);
    for thread in threads {
        assert!(thread.join().unwrap() > 0, "the race has run");
    }
    for number in 0..4 {
        let records = records_of(&format!("container-{number}"));
        let (decision, other) = if number % 2 == 0 { ("granted", "refused") } else { ("refused", "granted") };
        let asked = ("asked", "type=c mode=0700 device=1:3");
        assert!(records.count(&[("decision", decision), ("handler", "nodes"), asked]) > 0, "{records:?}");
        assert_eq!(records.count(&[("decision", other)]), 0, "{records:?}");
    }
}

fn directories() -> Registry {
    let mut registry = Registry::new();
    for name in ["mkdir", "mkdirat"] {
        registry.on(name, Directories::new()).unwrap();
    }
    registry
}

/// Containers that make directories all the time.
struct Busy {
    ended: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    _roots: [tempfile::TempDir; 2],
}

impl Busy {
    fn start(engine: &Engine) -> Self {
        let (ended, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let roots = [0; 2].map(|_| tempfile::tempdir_in("/tmp").unwrap());
        let threads = roots.iter().map(|root| {
            build(root.path());
            let (ended, made) = (Arc::clone(&ended), Arc::clone(&made));
            container(engine, "busy", root.path(), directories(), move || {
                while !ended.load(Ordering::Relaxed) {
                    mkdirat(CWD, "made", Mode::RWXU).unwrap();
                    unlinkat(CWD, "made", AtFlags::REMOVEDIR).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { ended, made, threads, _roots: roots }
    }

    /// Calls a second.
    #[allow(clippy::cast_precision_loss)] // Small numbers.
    fn rate(&self) -> f64 {
        let (start, before) = (Instant::now(), self.made.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(500));
        (self.made.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Busy {
    /// Before the engine ends, which answers them.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A container whose calls are never answered: `arguments` say why.
fn stuck(engine: &Engine, arguments: &[String]) -> Child {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let program = compile("unanswering", root.path());
    let arguments = arguments.to_vec();
    let (send, receive) = channel();
    let starting = std::thread::spawn(move || {
        send.send(support::install(&["mkdir"], Flags::empty())).unwrap();
        Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    });
    let listener = Listener::new(receive.recv().unwrap()).unwrap();
    let container = Container::named("stuck");
    let mut registry = directories();
    registry.layer(&Audit::of(&container));
    engine.serve(listener, Arc::new(container), Arc::new(registry)).unwrap();
    let mut child = starting.join().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "calling\n");
    // Four calls that wait, and somebody for everybody else.
    eventually("its calls wait", || workers() > 4);
    child
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a container's first process; what it has started ends with it.
fn kill(mut child: Child) {
    assert!(child.try_wait().unwrap().is_none(), "nobody has answered its calls");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How many threads answer calls.
fn workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| {
            fs::read(task.path().join("comm")).is_ok_and(|name| name.starts_with(b"seccomp-worker"))
        })
        .count()
}

/// `obstruct` puts something in the way, for as long as what it gives is kept, and says how a program runs into it.
fn others_keep_their_rate_beside<T>(obstruct: impl Fn() -> (T, Vec<String>)) {
    let _alone = alone();
    records_of("");
    let engine = engine();
    let busy = Busy::start(&engine);
    let mut ratios = Vec::new();
    // What else the machine does may weigh on one attempt, not on all.
    for _ in 0..6 {
        let before = busy.rate();
        let (obstacle, arguments) = obstruct();
        let written = records_of("stuck").count(&DECIDED);
        let child = stuck(&engine, &arguments);
        let beside = busy.rate();
        kill(child);
        drop(obstacle);
        eventually("it is gone", || engine.containers().iter().all(|container| container.id != "stuck"));
        eventually("it is written down", || records_of("stuck").count(&DECIDED) > written);
        let after = busy.rate();
        ratios.push(beside / f64::midpoint(before, after));
        if ratios.last().is_some_and(|ratio| *ratio >= 0.8) {
            return;
        }
    }
    panic!("others made {ratios:?} of the calls that they made without");
}

/// What the records of the calls that have waited have in common.
const DECIDED: [(&str, &str); 2] = [("handler", "directories"), ("syscall", "mkdir")];

#[test]
fn a_file_system_that_never_answers_holds_up_its_own_container_alone() {
    others_keep_their_rate_beside(|| {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let arguments = vec!["fuse".to_owned(), place.path().to_str().unwrap().to_owned()];
        (place, arguments)
    });
}

#[test]
fn a_file_system_that_is_frozen_holds_up_its_own_container_alone() {
    others_keep_their_rate_beside(|| {
        let frozen = Frozen::new();
        let arguments = vec!["frozen".to_owned(), frozen.place().to_str().unwrap().to_owned()];
        (frozen, arguments)
    });
}

#[test]
fn a_page_that_never_comes_holds_up_its_own_container_alone() {
    others_keep_their_rate_beside(|| ((), vec!["page".to_owned()]));
}
