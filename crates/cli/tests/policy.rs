//! `seccomp-agent policy` and `serve --policy`, as programs. Needs no privilege.

// A failure should end the test, in its helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, getppid, kill_process};
use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Syscall};

const PATIENCE: Duration = Duration::from_secs(20);

/// A policy that lets `getppid` return `value`.
fn returning(value: i32) -> String {
    format!(
        "version: 1
rules:
  - name: only
    match: {{id: c*}}
    grant:
      calls: [{{names: [getppid], answer: {{return: {value}}}}}]
"
    )
}

struct Agent {
    child: Child,
    log: Receiver<String>,
    directory: tempfile::TempDir,
}

impl Agent {
    /// Starts the agent with a policy, and waits until it listens.
    fn serving(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_seccomp-agent"))
            .args(["serve", "--socket", "socket", "--policy", "policy.yaml"])
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        let agent = Self { child, log, directory };
        agent.says("listening");
        agent
    }

    fn policy(&self) -> PathBuf {
        self.directory.path().join("policy.yaml")
    }

    /// Waits for a line of the log.
    fn says(&self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen += &(line + "\n"),
                Err(error) => panic!("{error}: the agent did not say {text:?} but:\n{seen}"),
            }
        }
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// What `getppid` returns in a new container.
    fn getppid(&self, id: &str) -> i32 {
        let (sender, listener) = channel();
        let container = std::thread::spawn(move || {
            let calls = [Syscall::named(Arch::native(), "getppid").unwrap()];
            sender.send(filter::install(&filter::notifying(&calls), Flags::empty()).unwrap()).unwrap();
            Pid::as_raw(getppid())
        });
        hand_over(&self.directory.path().join("socket"), &listener.recv().unwrap(), id);
        container.join().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands a listener over as a runtime does.
fn hand_over(socket: &Path, listener: &OwnedFd, id: &str) {
    let stream = UnixStream::connect(socket).unwrap();
    let state =
        format!(r#"{{"fds":["seccompFd"],"pid":1,"state":{{"id":"{id}","status":"creating","pid":1}}}}"#);
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&stream, &[IoSlice::new(state.as_bytes())], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn a_pod_is_of_a_file_if_it_cannot_be_one_of_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.yaml"), returning(1)).unwrap();
    for (pod, expected) in [
        ("deploy/web.yaml", "reading deploy/web.yaml: "),
        ("deploy/web.yml", "reading deploy/web.yml: "),
        ("deploy/web.json", "reading deploy/web.json: "),
        ("./web", "reading ./web: "),
        ("a/b/c", "reading a/b/c: "),
        ("web", "reading web: "),
        ("shop/web", "there is no file shop/web, and as a pod of the cluster: "),
    ] {
        let explain = ["policy", "explain", "policy.yaml", "--pod", pod];
        let mut agent = Command::new(env!("CARGO_BIN_EXE_seccomp-agent"));
        let agent = agent.args(explain).current_dir(&directory).env("KUBECONFIG", "/nowhere");
        let output = agent.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{pod}: {said}");
    }
}

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seccomp-agent")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn new_containers_get_a_policy_that_was_changed() {
    let agent = Agent::serving(&returning(11));
    assert_eq!(agent.getppid("c1"), 11);
    std::fs::write(agent.policy(), returning(12)).unwrap();
    agent.says("policy read again");
    assert_eq!(agent.getppid("c2"), 12);
    assert_eq!(agent.getppid("other"), parent_id().cast_signed());
}

#[test]
fn a_file_that_takes_the_place_of_the_policy_is_read() {
    let agent = Agent::serving(&returning(11));
    let other = agent.directory.path().join("new.yaml");
    std::fs::write(&other, returning(13)).unwrap();
    std::fs::rename(&other, agent.policy()).unwrap();
    agent.says("policy read again");
    assert_eq!(agent.getppid("c1"), 13);
}

#[test]
fn a_policy_that_is_wrong_or_gone_leaves_the_old_one() {
    let agent = Agent::serving(&returning(11));
    agent.hang_up();
    agent.says("policy read again");
    std::fs::write(agent.policy(), "version: 1\nrulse: []\n").unwrap();
    agent.hang_up();
    let line = agent.says("the old policy stays");
    assert!(line.contains(r#"policy.yaml:2:1: rulse: unknown key "rulse"; did you mean "rules"?"#), "{line}");
    assert_eq!(agent.getppid("c1"), 11);
    std::fs::remove_file(agent.policy()).unwrap();
    agent.says("cannot be read");
    assert_eq!(agent.getppid("c2"), 11);
    std::fs::write(agent.policy(), returning(14)).unwrap();
    agent.says("policy read again");
    assert_eq!(agent.getppid("c3"), 14);
}

#[test]
fn a_policy_is_checked_and_its_mistakes_exit_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, returning(1)).unwrap();
    let good = agent(&["policy", "check", file]);
    assert!(good.status.success());
    assert_eq!(text(&good.stdout), format!("{file}: 1 rule, all well\n"));
    std::fs::write(&path, "version: 1\notherwise: refsue\n").unwrap();
    let expected = format!(
        "seccomp-agent: {file}:2:12: otherwise: unknown value \"refsue\"; did you mean \"refuse\"?\n"
    );
    let socket = directory.path().join("socket");
    for arguments in [
        &["policy", "check", file][..],
        &["policy", "explain", file],
        &["serve", "--policy", file, "--log-level", "error", "--socket", socket.to_str().unwrap()],
    ] {
        let bad = agent(arguments);
        assert_eq!(bad.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&bad.stderr), expected, "{arguments:?}");
    }
}

const EXPLANATION: &str = r#"container  c1
rule       own
  own: yes
handlers
  directories: suffix "-7" (by metadata MKDIR_TMPL)
    answers mkdir, mkdirat
asked for
  metadata MKDIR_TMPL=-{{.Pid}}: honoured
  metadata MOUNT_PROC: no KEY=VALUE
otherwise  notified calls continue
"#;

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/run/seccomp-agent.socket",
    "listenerMetadata": "MKDIR_TMPL=-{{.Pid}}\nMOUNT_PROC"
}"#;

#[test]
fn a_policy_is_explained_to_people_and_to_machines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    let rule =
        "{name: own, match: {runtime: runc, annotations: {team: a}}, honour: {metadata: [MKDIR_TMPL]}}";
    std::fs::write(&path, format!("version: 1\nrules:\n- {rule}\n")).unwrap();
    let explain = |more: &[&str]| agent(&[&["policy", "explain", path.to_str().unwrap()][..], more].concat());
    let container = ["--id", "c1", "--runtime", "runc", "--annotation", "team=a", "--pid", "7", "--metadata"];
    let asking = |metadata, more: &[&str]| explain(&[&container[..], &[metadata], more].concat());

    let no_request = ["--metadata", "MOUNT_PROC"];
    assert_eq!(text(&asking("MKDIR_TMPL=-{{.Pid}}", &no_request).stdout), EXPLANATION);

    let profile = directory.path().join("profile.json");
    std::fs::write(&profile, PROFILE).unwrap();
    let by_profile = explain(&[&container[..7], &["7", "--profile", profile.to_str().unwrap()]].concat());
    assert_eq!(text(&by_profile.stdout), EXPLANATION, "{}", text(&by_profile.stderr));

    let json = asking("MKDIR_TMPL=-{{.Pid}}", &["--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (json["rule"].as_str(), json["handlers"][0]["handler"].as_str()),
        (Some("own"), Some("directories"))
    );

    let other = explain(&["--runtime", "crun"]);
    assert!(text(&other.stdout).contains(r#"own: no, runtime "crun" does not match "runc""#));

    let refused = asking("MKDIR_TMPL={{.Pod}}", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("Pod is not known"), "{}", text(&refused.stderr));
}
