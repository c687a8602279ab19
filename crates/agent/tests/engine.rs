//! The engine against the kernel's own notifications. No privilege needed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // What fails here is the test.

mod container;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::unistd::getpgrp;
use rustix::process::getppid;
use seccomp_agent_agent::{Config, Engine, EngineError};
use seccomp_agent_notify::filter::Flags;
use seccomp_agent_notify::{Features, Listener};
use seccomp_agent_registry::{Call, Container, Errno, Handler, Registry, Verdict};

/// Each test has the machine to itself: some measure rates, threads or memory.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const HELD: Duration = Duration::from_secs(1);

fn serve(engine: &Engine, listener: Listener, registry: Registry) {
    engine.serve(listener, Arc::new(Container::named("test")), Arc::new(registry)).unwrap();
}

fn engine() -> Engine {
    Engine::start(Config::default()).unwrap()
}

fn registry(name: &str, handler: impl Fn(&Call<'_>) -> Verdict + Send + Sync + 'static) -> Registry {
    let mut registry = Registry::new();
    registry.on(name, handler).unwrap();
    registry
}

/// The process's session, by a call that may be notified, or minus the error.
fn session() -> i32 {
    // Not rustix's, which takes no 0: a session's leader may be in a pid namespace above ours.
    nix::unistd::getsid(None).map_or_else(|errno| -(errno as i32), nix::unistd::Pid::as_raw)
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn engine_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("seccomp-"))
        .count()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true in 5 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_verdict_reaches_the_caller() {
    let _alone = alone();
    let engine = engine();
    let cases: [(fn() -> Verdict, i32); 6] = [
        (|| Verdict::Continue, session()),
        (|| Verdict::Return(4242), 4242),
        (|| Verdict::Errno(Errno::BADMSG), -Errno::BADMSG.raw_os_error()),
        (|| Verdict::after(Duration::from_millis(20), Verdict::Return(7)), 7),
        (|| Verdict::later(|call| Verdict::Return(i64::from(call.is_valid()))), 1),
        (
            || {
                Verdict::after(
                    Duration::from_millis(5),
                    Verdict::later(|_| Verdict::after(Duration::ZERO, Verdict::Return(9))),
                )
            },
            9,
        ),
    ];
    for (verdict, expected) in cases {
        let (listener, caller) = container::start(&["getsid"], Flags::empty(), session);
        serve(&engine, listener, registry("getsid", move |_: &Call<'_>| verdict()));
        assert_eq!(caller.join().unwrap(), expected, "{:?}", verdict());
    }
    eventually("every listener has ended", || engine.containers().is_empty());
}

#[test]
fn a_caller_that_is_killed_takes_nobody_along() {
    let _alone = alone();
    let engine = engine();
    let script = "mkdir /tmp/never; echo $?; mkdir /tmp/never; echo $?";
    let shell = move || std::process::Command::new("/bin/sh").args(["-c", script]).output().unwrap();
    let mkdir = if cfg!(target_arch = "x86_64") { "mkdir" } else { "mkdirat" };
    let (listener, caller) = container::start(&[mkdir], Flags::empty(), shell);
    serve(&engine, listener, registry(mkdir, |_: &Call<'_>| Verdict::Kill));
    let said = caller.join().unwrap();
    // 128 and SIGKILL: of each of both processes, not of the shell that has started them.
    assert_eq!(String::from_utf8_lossy(&said.stdout), "137\n137\n", "{said:?}");
}

#[test]
fn a_call_without_a_handler_continues() {
    let _alone = alone();
    let engine = engine();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), session);
    serve(&engine, listener, Registry::new());
    assert_eq!(caller.join().unwrap(), session());
}

#[test]
fn a_handler_that_panics_refuses_and_the_agent_goes_on() {
    let _alone = alone();
    let engine = engine();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), || [session(), session()]);
    let calls = AtomicU32::new(0);
    serve(
        &engine,
        listener,
        registry("getsid", move |_: &Call<'_>| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "the first call finds a bug");
            Verdict::Return(5)
        }),
    );
    assert_eq!(caller.join().unwrap(), [-Errno::PERM.raw_os_error(), 5]);
}

#[test]
fn the_same_listener_is_served_once() {
    let _alone = alone();
    let engine = engine();
    let (send, receive) = mpsc::channel::<()>();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), move || {
        receive.recv().unwrap();
        session()
    });
    let again = Listener::new(rustix::io::dup(&listener).unwrap()).unwrap();
    serve(&engine, listener, registry("getsid", |_: &Call<'_>| Verdict::Return(1)));
    let refused = engine.serve(again, Arc::new(Container::named("thief")), Arc::new(Registry::new()));
    assert!(matches!(refused, Err(EngineError::Duplicate { container }) if container == "test"));
    send.send(()).unwrap();
    assert_eq!(caller.join().unwrap(), 1, "the first registration is undisturbed");
}

/// What a thread that calls all the time sees: calls made, and the longest one.
fn call_until(stop: &AtomicBool) -> (u32, Duration) {
    let (mut calls, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let _ = getppid();
        longest = longest.max(begin.elapsed());
        calls += 1;
    }
    (calls, longest)
}

/// What became of seven threads that called getppid for as long as an eighth was in getpgrp, against what they did
/// without it, in the same run.
#[derive(Debug)]
struct Beside {
    /// Their rate, as a share of the rate without.
    rate: f64,
    /// Their longest pause.
    pause: Duration,
    /// Their longest pause without: what the machine's other work does to them.
    pause_without: Duration,
}

impl Beside {
    fn is_undisturbed(&self) -> bool {
        self.rate >= 0.8 && self.pause <= self.pause_without + Duration::from_millis(5)
    }
}

fn beside(slow: fn() -> Verdict) -> Beside {
    let engine = engine();
    let (listener, container) = container::start(&["getppid", "getpgrp"], Flags::empty(), || {
        let run = |with_slow: bool| {
            let stop = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..7)
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    std::thread::spawn(move || call_until(&stop))
                })
                .collect();
            if with_slow {
                let _group = getpgrp();
            } else {
                std::thread::sleep(HELD);
            }
            stop.store(true, Ordering::Relaxed);
            busy.into_iter()
                .map(|thread| thread.join().unwrap())
                .fold((0, Duration::ZERO), |(calls, longest), (more, pause)| {
                    (calls + more, longest.max(pause))
                })
        };
        // Alternating, so that whatever else the machine does weighs on both.
        let [first, second, third, fourth] = [run(false), run(true), run(true), run(false)];
        Beside {
            rate: f64::from(second.0 + third.0) / f64::from(first.0 + fourth.0),
            pause: second.1.max(third.1),
            pause_without: first.1.max(fourth.1),
        }
    });
    let mut handlers = Registry::new();
    handlers.on("getppid", |_: &Call<'_>| Verdict::Continue).unwrap();
    handlers.on("getpgrp", move |_: &Call<'_>| slow()).unwrap();
    serve(&engine, listener, handlers);
    container.join().unwrap()
}

/// The best of six counts: another program's work that falls on one half of a run is no fault of the engine.
fn assert_undisturbed(slow: fn() -> Verdict) {
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(beside(slow));
        if seen.last().is_some_and(Beside::is_undisturbed) {
            return;
        }
    }
    panic!("{seen:?}");
}

#[test]
fn a_held_call_leaves_the_rate_of_the_others_alone() {
    let _alone = alone();
    assert_undisturbed(|| Verdict::after(HELD, Verdict::Continue));
}

#[test]
fn a_blocked_handler_leaves_the_rate_of_the_others_alone() {
    let _alone = alone();
    assert_undisturbed(|| {
        std::thread::sleep(HELD);
        Verdict::Continue
    });
}

const CALLERS: usize = 1000;

#[test]
fn a_thousand_held_calls_cost_no_thread_and_little_memory() {
    let _alone = alone();
    let engine = engine();
    let ready = Arc::new(Barrier::new(CALLERS + 1));
    let theirs = Arc::clone(&ready);
    let (listener, container) = container::start(&["getsid"], Flags::empty(), move || {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let ready = Arc::clone(&theirs);
                std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
                    ready.wait();
                    session()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.unwrap().join().unwrap()).collect::<Vec<_>>()
    });
    let held = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&held);
    serve(
        &engine,
        listener,
        registry("getsid", move |_: &Call<'_>| {
            seen.fetch_add(1, Ordering::Relaxed);
            Verdict::after(HELD, Verdict::Return(3))
        }),
    );
    eventually("all callers are there", || threads() > CALLERS);
    std::thread::sleep(Duration::from_millis(100));
    let (threads_before, memory_before) = (engine_threads(), resident());
    ready.wait();
    eventually("all calls are held", || held.load(Ordering::Relaxed) as usize == CALLERS);
    let (threads_held, memory_held) = (engine_threads(), resident());
    assert_eq!(container.join().unwrap(), vec![3; CALLERS]);
    assert!(threads_held <= threads_before, "{threads_before} threads before, {threads_held} while holding");
    let more = memory_held.saturating_sub(memory_before);
    assert!(more <= 1024 * 1024, "{more} bytes more while holding {CALLERS} calls");
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_restarted_call_keeps_the_wait_it_has_had() {
    const WAIT: Duration = Duration::from_secs(2);
    let _alone = alone();
    // The handler that this installs has SA_RESTART.
    let signal = nix::sys::signal::Signal::SIGUSR2;
    signal_hook::flag::register(signal as i32, Arc::new(AtomicBool::new(false))).unwrap();
    let engine = engine();
    let received = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&received);
    let (tid_send, tid_receive) = mpsc::channel();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), move || {
        tid_send.send(nix::sys::pthread::pthread_self()).unwrap();
        let begin = Instant::now();
        (session(), begin.elapsed())
    });
    serve(
        &engine,
        listener,
        registry("getsid", move |_: &Call<'_>| {
            seen.fetch_add(1, Ordering::Relaxed);
            Verdict::after(WAIT, Verdict::Return(8))
        }),
    );
    let thread = tid_receive.recv().unwrap();
    for _ in 0..50 {
        std::thread::sleep(WAIT / 100);
        let _gone = nix::sys::pthread::pthread_kill(thread, signal);
    }
    let (value, took) = caller.join().unwrap();
    assert_eq!(value, 8);
    assert!(received.load(Ordering::Relaxed) > 5, "the signals restarted the call");
    // Anew from the last signal, it is at least half as long again.
    assert!(took < WAIT * 7 / 5, "the wait began anew: {took:?}");
}

#[test]
fn a_container_that_ends_leaves_nothing_behind() {
    let _alone = alone();
    let engine = engine();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = 0;
    for round in 0..220 {
        let (listener, caller) = container::start(&["getsid"], Flags::empty(), session);
        serve(&engine, listener, registry("getsid", |_: &Call<'_>| Verdict::Return(2)));
        assert_eq!(caller.join().unwrap(), 2);
        if round == 20 {
            eventually("the first containers have ended", || engine.containers().is_empty());
            before = descriptors();
        }
    }
    eventually("every listener has ended", || engine.containers().is_empty());
    assert!(descriptors() <= before + 3, "{before} descriptors before, {} after", descriptors());
}

#[test]
fn an_engine_without_the_newer_kernel_features_works() {
    let _alone = alone();
    let engine = Engine::start(Config { features: Features::default(), ..Config::default() }).unwrap();
    let (listener, caller) =
        container::start(&["getsid"], Flags::empty(), || (0..100).map(|_| session()).sum::<i32>());
    serve(&engine, listener, registry("getsid", |_: &Call<'_>| Verdict::Return(1)));
    assert_eq!(caller.join().unwrap(), 100);
}

#[test]
fn stopping_answers_what_is_held_and_names_the_containers() {
    let _alone = alone();
    let engine = engine();
    let (stopped, was_stopped) = mpsc::channel::<()>();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), move || {
        let held = session();
        was_stopped.recv().unwrap();
        (held, session())
    });
    let (entered, was_entered) = mpsc::channel();
    serve(
        &engine,
        listener,
        registry("getsid", move |_: &Call<'_>| {
            entered.send(()).unwrap();
            Verdict::after(Duration::from_secs(60), Verdict::Return(6))
        }),
    );
    was_entered.recv().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let begin = Instant::now();
    let left = engine.stop(Duration::from_secs(4));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    stopped.send(()).unwrap();
    assert_eq!(left.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(), ["test"]);
    assert_eq!(caller.join().unwrap(), (6, -Errno::NOSYS.raw_os_error()));
}

#[test]
fn handlers_are_told_of_a_listeners_end_once() {
    struct Told(mpsc::Sender<(&'static str, usize)>);
    impl Handler for Told {
        fn handle(&self, call: &Call<'_>) -> Verdict {
            self.0.send(("call", std::ptr::from_ref(call.container()).addr())).unwrap();
            Verdict::Continue
        }

        fn ended(&self, container: &Container) {
            self.0.send(("end", std::ptr::from_ref(container).addr())).unwrap();
            panic!("which must not end a worker");
        }
    }
    let _alone = alone();
    let engine = engine();
    let (send, told) = mpsc::channel();
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), || (session(), session()));
    let mut registry = Registry::new();
    registry.on("getsid", Told(send)).unwrap();
    serve(&engine, listener, registry);
    caller.join().unwrap();
    // Until the handler is gone with its listener.
    let (said, containers): (Vec<_>, Vec<_>) = told.iter().unzip();
    assert_eq!(said, ["call", "call", "end"]);
    assert!(containers.windows(2).all(|pair| pair[0] == pair[1]), "it is the same object");
    let (listener, caller) = container::start(&["getsid"], Flags::empty(), session);
    serve(&engine, listener, self::registry("getsid", |_: &Call<'_>| Verdict::Return(4242)));
    assert_eq!(caller.join().unwrap(), 4242, "the workers are all there");
}
