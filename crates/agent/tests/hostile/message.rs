//! Messages that are cut, torn, too long, or no state at all.

use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use seccomp_agent_agent::{MAX_ID, MAX_STATE, MESSAGE_DEADLINE};

use crate::stage::{ENOSYS, PROMPT, SERVED, Stage, send, state};

#[test]
fn what_is_no_state_is_refused() {
    let stage = Stage::new();
    let cases: [(&str, Vec<u8>); 10] = [
        ("malformed", b"this is no container".to_vec()),
        ("malformed", b"[]".to_vec()),
        ("malformed", b"\xff\xfe\x00".to_vec()),
        ("malformed", b"{\"fds\":[\"seccompFd\"],\"state\":{\"id\":\"\xff\xfe\"}}".to_vec()),
        ("malformed", b"{\"fds\":[\"seccompFd\"]}".to_vec()),
        ("malformed", br#"{"fds":["seccompFd"],"state":{"id":"x"},"state":{"id":"y"}}"#.to_vec()),
        ("malformed", state(&"x".repeat(MAX_ID + 1)).into_bytes()),
        ("malformed", format!(r#"{{"pid":"{}"}}"#, "x".repeat(500_000)).into_bytes()),
        ("malformed", format!(r#"{{"state":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000)).into_bytes()),
        ("too_large", format!(r#"{{"x":"{}"#, "x".repeat(MAX_STATE)).into_bytes()),
    ];
    for (kind, message) in cases {
        stage.refuses(kind, |stream, listener| send(stream, &message, &[listener.as_raw_fd()]));
    }
}

#[test]
fn a_state_that_does_not_name_exactly_one_listener_is_refused() {
    let stage = Stage::new();
    for (names, copies) in [(r#""other""#, 1), ("", 1), (r#""seccompFd","seccompFd""#, 2)] {
        stage.refuses("no_listener_named", |stream, listener| {
            let message = format!(r#"{{"fds":[{names}],"state":{{"id":"x"}}}}"#);
            send(stream, message.as_bytes(), &vec![listener.as_raw_fd(); copies]);
        });
    }
}

#[test]
fn a_peer_that_closes_half_way_is_refused() {
    let stage = Stage::new();
    stage.refuses("closed", |stream, listener| {
        send(stream, &state("x").as_bytes()[..30], &[listener.as_raw_fd()]);
        stream.shutdown(Shutdown::Both).unwrap();
    });
}

#[test]
fn a_state_that_stops_half_way_is_refused_at_the_deadline_and_holds_up_nobody() {
    let stage = Stage::new();
    let (victim, stream, ()) = stage.peer(|stream, listener| {
        send(stream, &state("x").as_bytes()[..30], &[listener.as_raw_fd()]);
    });
    stage.serve_another();
    assert_eq!(victim.returned(MESSAGE_DEADLINE + PROMPT), ENOSYS);
    stage.tells(&["timeout"]);
    drop(stream);
    stage.is_undisturbed();
}

#[test]
fn a_state_that_comes_byte_by_byte_is_served_wherever_its_listener_is() {
    let stage = Stage::new();
    let message = state("x").into_bytes();
    for with_listener in [0, 1, message.len() - 1] {
        stage.serves("byte by byte", |stream, listener| {
            for (at, byte) in message.iter().enumerate() {
                let descriptors = [listener.as_raw_fd()];
                send(stream, &[*byte], if at == with_listener { &descriptors } else { &[] });
                if at % 16 == 0 {
                    // So that it is not all there when the agent looks.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }
}

#[test]
fn a_state_with_more_than_is_known_is_served() {
    let stage = Stage::new();
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let large = "x".repeat(500_000);
    for message in [
        format!(r#"  {{"new":{deep},"fds":["seccompFd"],"state":{{"id":"x"}}}}"#),
        format!(r#"{{"fds":["seccompFd"],"metadata":"{large}","state":{{"id":"x","status":"frozen"}}}}"#),
        state("x") + &state("y"),
        state(&"x".repeat(MAX_ID)),
    ] {
        stage.serves("odd", |stream, listener| send(stream, message.as_bytes(), &[listener.as_raw_fd()]));
    }
}

#[test]
fn control_characters_in_a_state_stay_out_of_the_log() {
    let stage = Stage::new();
    let message = r#"{"fds":["seccompFd"],"metadata":"a\nb\u001b[31m","state":{"id":"x\r\n\u001b[2Jy","annotations":{"k\u0007":"v\n"}}}"#;
    let (victim, ..) = stage.peer(|stream, listener| {
        send(stream, message.as_bytes(), &[listener.as_raw_fd()]);
    });
    assert_eq!(victim.returned(PROMPT), SERVED);
    for line in stage.lines("") {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
