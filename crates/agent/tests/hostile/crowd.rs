//! Peers that say nothing, and very many of them.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use seccomp_agent_agent::MESSAGE_DEADLINE;

use crate::stage::{DescriptorLimit, PROMPT, SERVED, Stage, eventually, send, state, victim};

fn connect(stage: &Stage, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(stage.socket()).unwrap()).collect()
}

#[test]
fn a_peer_that_says_nothing_costs_nothing_and_is_served_when_it_speaks() {
    let stage = Stage::new();
    let others = connect(&stage, 50);
    let (victim, ..) = stage.peer(|stream, listener| {
        std::thread::sleep(MESSAGE_DEADLINE + Duration::from_secs(1));
        stage.serve_another();
        send(stream, state("late").as_bytes(), &[listener.as_raw_fd()]);
    });
    assert_eq!(victim.returned(MESSAGE_DEADLINE + 2 * PROMPT), SERVED);
    assert!(stage.kinds().is_empty(), "{:?}", stage.kinds());
    drop(others);
    eventually("their ends are counted", || stage.kinds() == vec!["closed"; 50]);
    stage.is_undisturbed();
}

#[test]
fn a_connection_that_closes_without_a_word_is_counted_and_no_warning() {
    let stage = Stage::new();
    drop(connect(&stage, 1));
    eventually("it is counted", || stage.kinds() == ["closed"]);
    assert!(stage.warnings().is_empty(), "{:?}", stage.warnings());
    assert_eq!(stage.lines("kind=\"closed\"").len(), 1);
    stage.is_undisturbed();
}

#[test]
fn a_thousand_connections_at_once_hold_up_nobody() {
    let stage = Stage::new();
    let silent = connect(&stage, 1000);
    stage.serve_another();
    for (at, stream) in silent.iter().enumerate() {
        if at % 2 == 0 {
            send(stream, b"{", &[]);
        }
    }
    stage.serve_another();
    assert!(stage.kinds().is_empty(), "{:?}", stage.kinds());
    drop(silent);
    eventually("all are counted", || stage.kinds().len() == 1000);
    assert!(stage.kinds().iter().all(|kind| *kind == "closed"));
    assert_eq!(stage.warnings().len(), 500, "those that had said something");
    stage.is_undisturbed();
}

#[test]
fn at_the_limit_the_oldest_silent_connection_goes() {
    const LIMIT: usize = 100;
    let stage = Stage::limited_to(LIMIT);
    let silent = connect(&stage, LIMIT);
    std::thread::sleep(Duration::from_millis(200));
    assert!(stage.kinds().is_empty(), "{:?}", stage.kinds());
    let one_more = connect(&stage, 1);
    stage.tells(&["evicted"]);
    let mut byte = [0];
    silent[0].set_read_timeout(Some(PROMPT)).unwrap();
    assert_eq!(std::io::Read::read(&mut &silent[0], &mut byte).unwrap(), 0, "the oldest is closed");
    silent[1].set_nonblocking(true).unwrap();
    let open = std::io::Read::read(&mut &silent[1], &mut byte).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "the next one is not");
    stage.serve_another();
    drop((silent, one_more));
    stage.is_undisturbed();
}

#[test]
fn connections_that_have_all_spoken_let_the_next_wait_for_their_deadline() {
    const LIMIT: usize = 20;
    let stage = Stage::limited_to(LIMIT);
    let slow = connect(&stage, LIMIT);
    for stream in &slow {
        send(stream, b"{", &[]);
    }
    std::thread::sleep(Duration::from_millis(200));
    let (victim, ..) = stage.peer(|stream, listener| {
        send(stream, state("next").as_bytes(), &[listener.as_raw_fd()]);
    });
    assert_eq!(victim.returned(Duration::from_secs(5) + PROMPT), SERVED);
    eventually("all have been given up", || stage.kinds() == vec!["timeout"; LIMIT]);
    drop(slow);
    stage.is_undisturbed();
}

#[test]
fn without_a_free_descriptor_silent_connections_make_room() {
    let stage = Stage::new();
    let silent = connect(&stage, 40);
    std::thread::sleep(Duration::from_millis(200));
    let (listener, container) = victim();
    let socket = || rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let client = socket();
    {
        let highest = socket().as_raw_fd();
        let _soon_none_left = DescriptorLimit::new(usize::try_from(highest).unwrap() + 1);
        let rest: Vec<_> = std::iter::from_fn(|| rustix::io::dup(&client).ok()).collect();
        rustix::net::connect(&client, &SocketAddrUnix::new(stage.socket()).unwrap()).unwrap();
        let stream = UnixStream::from(client);
        send(&stream, state("late").as_bytes(), &[listener.as_raw_fd()]);
        eventually("its call has returned", || container.is_finished());
        drop((rest, stream, listener));
    }
    assert_eq!(container.returned(PROMPT), SERVED, "{:?}", stage.warnings());
    let evicted = stage.kinds().len();
    assert!((1..=16).contains(&evicted) && stage.kinds() == vec!["evicted"; evicted], "{:?}", stage.kinds());
    assert_eq!(stage.warnings().len(), evicted);
    drop(silent);
    stage.is_undisturbed();
}
