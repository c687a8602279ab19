//! A server that ends whenever it is started, since its profile is too strict: what tells why, and what mends it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use seccomp_agent_recorder::{Name, Store};
use seccomp_agent_tests::{Bed, Bundle, Daemon, Runc, eventually, run_for};
use serde_json::Value;

use crate::program::{DEADLINE, Program, agent, parsed};

/// Calls that serving takes, and that checking a configuration does not show.
const MISSING: [&str; 3] = ["accept4", "epoll_wait", "sendfile"];

/// nginx, with a page.
struct Site {
    nginx: Program,
    socket: PathBuf,
}

impl Site {
    fn new() -> Self {
        let mut nginx = Program::new(&[]);
        let place = nginx.bed.path().to_owned();
        std::fs::create_dir(place.join("www")).unwrap();
        // Larger than what nginx copies, so that sendfile(2) sends it.
        std::fs::write(place.join("www/page"), "hello\n".repeat(10_000)).unwrap();
        let at = place.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};")).concat();
        let conf = format!(
            "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/log; events {{}}
            http {{ access_log off; sendfile on; {temporary}
                server {{ listen unix:{at}/socket; root {at}/www; }} }}"
        );
        std::fs::write(place.join("conf"), conf).unwrap();
        let words = ["/usr/sbin/nginx", "-e", "stderr", "-p", &at.to_string(), "-c", &format!("{at}/conf")];
        nginx.words = words.map(str::to_owned).into();
        Self { nginx, socket: place.join("socket") }
    }

    /// The length of what is answered to a request for the page; `None` while nobody does.
    fn answer(&self) -> Option<usize> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(answer.len())
    }

    #[track_caller]
    fn serves(&self) {
        assert!(eventually(DEADLINE, || self.answer().is_some_and(|length| length > 60_000)));
    }

    /// What an nginx that was killed has left makes the next one fail.
    fn clear(&self) {
        let _none = std::fs::remove_file(&self.socket);
    }

    fn bundle(&self, profile: &Path) -> Bundle {
        self.clear();
        self.nginx.bundle().seccomp(parsed(profile))
    }

    /// Starts it, has it serve, and stops it.
    fn is_served_by(&self, runtime: &Runc, profile: &Path) {
        let id = runtime.unused_id("site");
        runtime.start(&id, &self.bundle(profile)).unwrap();
        self.serves();
        runtime.kill(&id, "QUIT").unwrap();
        let has_stopped = || runtime.state(&id).unwrap()["status"] == "stopped";
        assert!(eventually(DEADLINE, has_stopped), "{:?}", runtime.state(&id));
        runtime.delete(&id).unwrap();
    }

    /// The calls that the profile would refuse of a server that has answered, and has then been stopped.
    fn verified(&self, profile: &Path) -> Vec<String> {
        self.clear();
        let mut verify: Command = agent(&["profile", "verify", "--output", "json"]);
        verify.arg(profile).arg("--").args(&self.nginx.words).stdout(Stdio::piped());
        let child = verify.spawn().unwrap();
        self.serves();
        kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let refused = report["refused"].as_array().unwrap();
        refused.iter().map(|refused| refused["call"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn verify_and_complain_mode_say_what_a_server_lacks_and_amended_it_serves() {
    let mut site = Site::new();
    site.nginx.words.push("-t".to_owned());
    site.nginx.record();
    site.nginx.words.pop();
    let bed = Bed::new().unwrap();
    let runtimes = [("runc", Runc::new(&bed).unwrap()), ("crun", Runc::crun(&bed).unwrap())];

    let strict = site.nginx.profile(&["--default-action", "kill-process"]);
    for (name, runtime) in &runtimes {
        for _ in 0..2 {
            let ended = runtime.run(&runtime.unused_id("strict"), &site.bundle(&strict)).unwrap();
            assert_eq!(ended.status.code(), Some(128 + Signal::SYS.as_raw()), "{name}: {ended}");
        }
    }
    let refused = site.verified(&strict);
    assert!(MISSING.iter().all(|call| refused.iter().any(|refused| refused == call)), "{refused:?}");

    let store = site.nginx.store();
    let mut daemon = Daemon::serve(&bed, &["--recordings", &store]).unwrap();
    let socket = bed.socket();
    for (name, runtime) in &runtimes {
        let options = ["--for", name, "--complain", "--listener-path", socket.to_str().unwrap()];
        site.is_served_by(runtime, &site.nginx.profile(&options));
    }
    for call in MISSING {
        let told = ["violation allowed", "recording=\"program\"", &format!("syscall={call} ")];
        assert!(daemon.logs(&told), "{call}: {}", daemon.log());
    }
    // It writes everything when it stops.
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
    let violations = Store::open(&store).unwrap().violations(&"program".parse::<Name>().unwrap()).unwrap();
    let calls: Vec<_> =
        violations.unwrap().calls().into_keys().filter_map(seccomp_agent_syscall::Syscall::name).collect();
    assert!(MISSING.iter().all(|call| calls.contains(call)), "{calls:?}");

    let mut amend = agent(&["recordings", "amend", "program", "--violations", "--recordings", &store]);
    let amended = run_for(DEADLINE, &mut amend).unwrap();
    assert!(amended.success() && MISSING.iter().all(|call| amended.stdout.contains(call)), "{amended}");
    let mended = site.nginx.profile(&["--default-action", "kill-process"]);
    for (_, runtime) in &runtimes {
        site.is_served_by(runtime, &mended);
    }
}
