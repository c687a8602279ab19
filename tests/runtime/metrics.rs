//! `--metrics-bind-address`.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Metrics, Runc, Serve, binaries, eventually, profile, run_for};

const NOTIFICATIONS: &str = "seccomp_agent_notifications_total";
const LISTENERS: &str = "seccomp_agent_listeners";
const HANDSHAKE_ERRORS: &str = "seccomp_agent_handshake_errors_total";

#[test]
fn a_containers_calls_are_counted_while_it_lives_and_forgotten_afterwards() {
    let bed = Bed::new().unwrap();
    let daemon =
        Serve::new(&bed, &["--resolver", "demo-basic"]).unwrap().with_metrics().unwrap().start().unwrap();
    daemon.is_ready().unwrap();
    let runc = Runc::new(&bed).unwrap();
    let script =
        "for i in 1 2 3; do chmod 777 /; done; mkdir /abc; echo ready > /ready; while :; do sleep 1; done";
    let bundle = Bundle::new(&bed)
        .unwrap()
        .seccomp(profile::notifying(&["chmod", "mkdir", "getppid"], daemon.socket()))
        .command(&["sh", "-c", script]);
    let id = runc.unused_id("metrics");
    runc.start(&id, &bundle).unwrap();
    assert!(eventually(Duration::from_secs(10), || bundle.rootfs().join("ready").exists()));

    let of = |syscall, verdict| [("syscall", syscall), ("container", id.as_str()), ("verdict", verdict)];
    // A call is counted once it is answered: its caller may be ahead of the count.
    let counted = || daemon.metrics().unwrap().count(NOTIFICATIONS, &of("mkdir", "return")) == 1;
    assert!(eventually(Duration::from_secs(5), counted), "{}", daemon.metrics().unwrap().text());
    let metrics = daemon.metrics().unwrap();
    let text = metrics.text();
    assert_eq!(metrics.sum(NOTIFICATIONS, &of("chmod", "errno")).to_string(), "3", "{text}");
    assert_eq!(metrics.sum(NOTIFICATIONS, &of("mkdir", "return")).to_string(), "1", "{text}");
    assert_eq!(metrics.sum(LISTENERS, &[]).to_string(), "1", "{text}");
    // In seconds: all these calls together took less than one.
    assert!(metrics.sum("seccomp_agent_answer_seconds_count", &[]) >= 4.0, "{text}");
    let seconds = metrics.sum("seccomp_agent_answer_seconds_sum", &[]);
    assert!(seconds > 0.0 && seconds < 1.0, "{text}");

    runc.delete(&id).unwrap();
    let gone = || daemon.metrics().unwrap().count(NOTIFICATIONS, &[("container", &id)]) == 0;
    assert!(eventually(Duration::from_secs(5), gone), "{}", daemon.metrics().unwrap().text());
    assert_eq!(daemon.metrics().unwrap().sum(LISTENERS, &[]).to_string(), "0");
}

#[test]
fn handshake_errors_are_counted_by_kind() {
    let bed = Bed::new().unwrap();
    let daemon = Serve::new(&bed, &[]).unwrap().with_metrics().unwrap().start().unwrap();
    let errors = || daemon.metrics().unwrap().sum(HANDSHAKE_ERRORS, &[]);
    let before = errors();
    let mut peer = UnixStream::connect(daemon.socket()).unwrap();
    peer.write_all(b"this is no container").unwrap();
    drop(peer);
    assert!(eventually(Duration::from_secs(10), || errors() > before), "{}", daemon.log());
    let metrics = daemon.metrics().unwrap();
    assert!(metrics.text().contains(&format!("{HANDSHAKE_ERRORS}{{kind=")), "{}", metrics.text());
}

#[test]
fn an_address_that_is_taken_is_a_failure_that_names_it() {
    let bed = Bed::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(binaries::agent().unwrap());
    command.args(["serve", "--metrics-bind-address", &address, "--socket"]).arg(bed.socket());
    let ended = run_for(Duration::from_secs(10), &mut command).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains(&address), "{ended}");
}

#[test]
fn without_a_host_it_is_all_of_the_machine_also_where_there_is_no_ipv6() {
    let bed = Bed::new().unwrap();
    let without_ipv6 = bed.path().join("profile.json");
    // EAFNOSUPPORT for AF_INET6.
    std::fs::write(
        &without_ipv6,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO",
            "errnoRet": 97, "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let agent = binaries::agent().unwrap();
    let mut confined = Command::new(&agent);
    confined.args(["run", "--profile"]).arg(&without_ipv6).arg("--").arg(&agent);
    for (mut command, expected) in [(Command::new(&agent), None), (confined, Some("0.0.0.0"))] {
        command.args(["serve", "--metrics-bind-address", ":0", "--socket"]).arg(bed.socket());
        let mut daemon = Serve::by(&bed, command).start().unwrap();
        let log = daemon.log();
        let address = log.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        assert_eq!(expected.unwrap_or(host), host, "{log}");
        let listens = || Metrics::ready(([127, 0, 0, 1], port.parse().unwrap()).into()).is_ok();
        assert!(eventually(Duration::from_secs(5), listens), "{log}");
        daemon.stop().unwrap();
    }
}
