//! Messages with no descriptor, with too many, or with such as are no listener.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::net::sockopt::set_socket_linger;
use sendfd::SendWithFd;

use crate::stage::{ENOSYS, PROMPT, SERVED, Stage, send, state};

#[test]
fn a_message_with_another_number_of_descriptors_than_it_names_is_refused() {
    let stage = Stage::new();
    for count in [0, 2, 3, 9, 253] {
        stage.refuses("descriptors", |stream, listener| {
            send(stream, state("x").as_bytes(), &vec![listener.as_raw_fd(); count]);
        });
    }
}

#[test]
fn what_is_no_listener_is_refused() {
    let mut stage = Stage::new();
    let file = tempfile::tempfile().unwrap();
    let (pipe, _end) = std::io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let directory = std::fs::File::open("/proc/self").unwrap();
    stage.settle();
    let all = [file.as_fd(), pipe.as_fd(), socket.as_fd(), epoll.as_fd(), event.as_fd(), directory.as_fd()];
    for other in all {
        stage.refuses("not_a_listener", |stream, _listener| {
            send(stream, state("x").as_bytes(), &[other.as_raw_fd()]);
        });
    }
    // A file may call itself what it likes.
    let dir = tempfile::tempdir().unwrap();
    let named = std::fs::File::create(dir.path().join("anon_inode:seccomp notify")).unwrap();
    stage.settle();
    stage.refuses("not_a_listener", |stream, _| send(stream, state("x").as_bytes(), &[named.as_raw_fd()]));
}

#[test]
fn several_descriptors_that_are_named_are_served_in_one_message_or_several() {
    let mut stage = Stage::new();
    let message = r#"{"fds":["other","seccompFd"],"state":{"id":"x"}}"#.as_bytes();
    let file = tempfile::tempfile().unwrap();
    stage.settle();
    stage.serves("two at once", |stream, listener| {
        send(stream, message, &[file.as_raw_fd(), listener.as_raw_fd()]);
    });
    stage.serves("the listener and a duplicate", |stream, listener| {
        send(stream, message, &[listener.as_raw_fd(), listener.as_raw_fd()]);
    });
    stage.serves("one after the other", |stream, listener| {
        send(stream, &message[..10], &[file.as_raw_fd()]);
        send(stream, &message[10..20], &[listener.as_raw_fd()]);
        send(stream, &message[20..], &[]);
    });
}

#[test]
fn descriptors_without_a_byte_do_not_arrive() {
    let stage = Stage::new();
    stage.refuses("descriptors", |stream, listener| {
        assert_eq!(stream.send_with_fd(&[], &[listener.as_raw_fd()]).unwrap(), 0);
        send(stream, state("x").as_bytes(), &[]);
    });
}

#[test]
fn a_listener_that_is_served_already_is_refused_and_goes_on_being_served() {
    let stage = Stage::new();
    let (victim, first, copy) = stage.peer(|stream, listener| {
        let copy = listener.try_clone().unwrap();
        // Its only call may be over before the second message comes, but its thread is not.
        send(stream, state("first").as_bytes(), &[listener.as_raw_fd()]);
        send_again(&stage, listener);
        copy
    });
    assert_eq!(victim.returned(PROMPT), SERVED);
    drop((first, copy));
    // Refused as a duplicate, or served and ended at once where the container had ended by then.
    assert!(stage.kinds().iter().all(|kind| *kind == "duplicate"), "{:?}", stage.kinds());
    stage.is_undisturbed();
}

fn send_again(stage: &Stage, listener: &OwnedFd) {
    let again = std::os::unix::net::UnixStream::connect(stage.socket()).unwrap();
    send(&again, state("thief").as_bytes(), &[listener.as_raw_fd()]);
}

/// A TCP socket that takes half a minute to close: nobody reads what it has to send.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (deaf, _) = listener.accept().unwrap();
    set_socket_linger(&socket, Some(Duration::from_secs(30))).unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 8192]).is_ok() {}
    // Closing one that does not block does not wait.
    socket.set_nonblocking(false).unwrap();
    (socket, deaf)
}

#[test]
fn a_descriptor_that_takes_long_to_close_holds_up_nobody() {
    let stage = Stage::new();
    for (kind, message) in [("not_a_listener", state("x")), ("malformed", "{rubbish}".to_owned())] {
        let (socket, deaf) = lingering();
        let (victim, stream, ()) = stage.peer(|stream, _| {
            let (begin, rest) = message.as_bytes().split_at(1);
            send(stream, begin, &[socket.as_raw_fd()]);
            // The agent's is the last, which it keeps until the message has ended: closing that is what waits.
            drop(socket);
            send(stream, rest, &[]);
        });
        stage.serve_another();
        assert_eq!(victim.returned(PROMPT), ENOSYS);
        stage.tells(&[kind]);
        drop(deaf);
        drop(stream);
        stage.is_undisturbed();
    }
}

#[test]
fn what_comes_after_a_good_message_holds_up_nobody() {
    let stage = Stage::new();
    let (socket, deaf) = lingering();
    let (victim, stream, ()) = stage.peer(|stream, listener| {
        send(stream, state("x").as_bytes(), &[listener.as_raw_fd()]);
        // Too late if the agent was quicker, which is as good. Then ours may be the last, and closing it waits.
        let _sent = stream.send_with_fd(b"{", &[socket.as_raw_fd()]);
        std::thread::spawn(move || drop(socket));
    });
    stage.serve_another();
    assert_eq!(victim.returned(PROMPT), SERVED);
    drop(deaf);
    drop(stream);
    stage.is_undisturbed();
}
