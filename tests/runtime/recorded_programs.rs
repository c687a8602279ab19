//! Programs under the profile of three recorded runs: by the launcher, runc and crun, with `no_new_privs` and without,
//! failing and killed for what is not allowed. And under one that lacks a call.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Bundle, Ended, Runc, binaries, run_for};
use serde_json::Value;

/// How long one run may take: none needs a tenth of it.
const DEADLINE: Duration = Duration::from_secs(120);

/// The page is larger than what nginx copies, so that sendfile(2) sends it. One process: what the end of another
/// interrupts would fail with EINTR while it is recorded.
const NGINX: &str = r#"
import os, shutil, signal, socket, subprocess, tempfile, time
place = tempfile.mkdtemp()
os.mkdir(place + "/www")
with open(place + "/www/page", "w") as page:
    page.write("hello\n" * 10000)
temporary = "".join(f"{kind}_temp_path {place}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
with open(place + "/conf", "w") as conf:
    conf.write(f"""daemon off; master_process off; pid {place}/pid; events {{}}
        http {{ access_log off; sendfile on; {temporary}
            server {{ listen unix:{place}/socket; root {place}/www; }} }}""")
server = subprocess.Popen(["/usr/sbin/nginx", "-p", place, "-e", "stderr", "-c", place + "/conf"])
time.sleep(0.01)
while not os.path.exists(place + "/pid") and server.poll() is None:
    time.sleep(0.01)
def get(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(place + "/socket")
    client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, body = answer.split(b"\r\n\r\n", 1)
    print(head.split(b"\r\n")[0].decode(), len(body))
get("/page")
get("/none")
server.send_signal(signal.SIGQUIT)
print(server.wait(30))
shutil.rmtree(place)
"#;

const REDIS: &str = r#"
import os, shutil, socket, subprocess, tempfile, time
place = tempfile.mkdtemp()
server = subprocess.Popen(["/usr/bin/redis-server", "--port", "0", "--unixsocket", place + "/socket", "--dir", place,
    "--save", "", "--logfile", place + "/log"])
time.sleep(0.01)
client = socket.socket(socket.AF_UNIX)
client.settimeout(30)
while client.connect_ex(place + "/socket") != 0 and server.poll() is None:
    time.sleep(0.01)
answers = client.makefile("rb")
def ask(line):
    client.sendall(line.encode() + b"\r\n")
    answer = answers.readline().strip()
    if answer.startswith(b"$"):
        answer = answers.read(int(answer[1:]) + 2).strip()
    return answer.decode()
print(ask("PING"), ask("SET a 41"), ask("INCR a"), ask("GET a"), ask("BGSAVE"))
while "rdb_bgsave_in_progress:0" not in ask("INFO persistence"):
    time.sleep(0.01)
print(os.path.exists(place + "/dump.rdb"))
client.sendall(b"SHUTDOWN NOSAVE\r\n")
print(server.wait(30))
shutil.rmtree(place)
"#;

const PYTHON: &str = r#"
import os, socket, subprocess, tempfile, threading
ours, theirs = socket.socketpair()
thread = threading.Thread(target=lambda: theirs.sendall(b"from a thread"))
thread.start()
print(ours.recv(64).decode())
thread.join()
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100000)
    print(file.tell())
print(subprocess.run(["/usr/bin/env", "/usr/bin/echo", "from a child"], capture_output=True).stdout.decode(), end="")
"#;

const SQLITE: &str = "create table t(a); insert into t values (1), (2); select sum(a) from t; vacuum;";

const BASH: &str = "echo one; echo two | /usr/bin/cat | /usr/bin/grep two; (/usr/bin/sleep 0.01; echo three) & wait; trap 'echo four' USR1; kill -USR1 $$";

/// write(1, "old\n", 4) and exit(0), by the interrupt that 32-bit programs use.
#[cfg(target_arch = "x86_64")]
const OF_32_BITS: &str = r#"
.globl _start
_start:
    mov $4, %eax
    mov $1, %ebx
    mov $text, %ecx
    mov $4, %edx
    int $0x80
    mov $1, %eax
    xor %ebx, %ebx
    int $0x80
text: .ascii "old\n"
"#;

/// Where programs and their libraries are, in the container as on the host.
const SHARED: [&str; 5] = ["/usr", "/lib", "/lib64", "/etc", "/run"];

/// A program, and its recordings.
struct Program {
    bed: Bed,
    words: Vec<String>,
}

impl Program {
    fn new(words: &[&str]) -> Self {
        Self { bed: Bed::new().unwrap(), words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// What three runs say, which is the same.
    fn record(&self) -> String {
        let store = self.store();
        let each = (0..3).map(|_| {
            let mut record = agent(&["record", "--name", "program", "--recordings", &store, "--"]);
            let ended = run_for(DEADLINE, record.args(&self.words)).unwrap();
            assert!(ended.success(), "{ended}");
            ended.stdout
        });
        let mut each: Vec<_> = each.collect();
        each.dedup();
        assert_eq!(each.len(), 1, "{each:?}");
        each.remove(0)
    }

    fn store(&self) -> String {
        self.bed.path().join("recordings").to_str().unwrap().to_owned()
    }

    /// The profile of the recording; `minimal` since a busy machine has the C library wait, or the allocator give back,
    /// where no recorded run had it do so.
    fn profile(&self, action: &str) -> PathBuf {
        let path = self.bed.path().join(format!("{action}.json"));
        let mut command = agent(&["recordings", "profile", "program", "--recordings", &self.store()]);
        command.args(["--base", "minimal", "--default-action", action, "--output"]).arg(&path);
        let made = run_for(DEADLINE, &mut command).unwrap();
        assert!(made.success(), "{made}");
        path
    }

    fn launched(&self, profile: &Path) -> Ended {
        let mut run = agent(&["run", "--profile"]);
        run_for(DEADLINE, run.arg(profile).arg("--").args(&self.words)).unwrap()
    }

    fn contained(&self, runtime: &Runc, profile: &Path, has_no_new_privs: bool) -> Ended {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let profile = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
        let mut bundle = Bundle::new(&self.bed).unwrap().seccomp(profile).command(&words);
        for place in SHARED.into_iter().filter(|place| Path::new(place).exists()) {
            bundle = bundle.bind(Path::new(place), place);
        }
        // Programs that a test has built.
        bundle = bundle.bind(self.bed.path(), self.bed.path().to_str().unwrap());
        let bundle = if has_no_new_privs { bundle } else { bundle.new_privileges() };
        runtime.run(&runtime.unused_id("program"), &bundle).unwrap()
    }

    /// Under the profile of its recording, everywhere, it does what it did.
    fn is_enforced(&self) {
        let expected = self.record();
        let (errno, kill) = (self.profile("errno"), self.profile("kill-process"));
        let (runc, crun) = (Runc::new(&self.bed).unwrap(), Runc::crun(&self.bed).unwrap());
        let check = |ended: Ended, what: &str| {
            assert!(ended.success() && ended.stdout == expected, "{what}: {ended}\nbefore: {expected}");
        };
        check(self.launched(&errno), "launcher, errno");
        check(self.launched(&kill), "launcher, kill");
        check(self.contained(&runc, &errno, true), "runc, errno");
        check(self.contained(&runc, &kill, false), "runc, kill, new privileges");
        check(self.contained(&crun, &kill, true), "crun, kill");
        check(self.contained(&crun, &errno, false), "crun, errno, new privileges");
    }

    /// Without one of these calls, `verify` names it, and the program fails.
    fn needs(&self, calls: &[&str]) {
        let kill = self.profile("kill-process");
        for call in calls {
            let mut profile: Value = serde_json::from_slice(&std::fs::read(&kill).unwrap()).unwrap();
            for rule in profile["syscalls"].as_array_mut().unwrap() {
                rule["names"].as_array_mut().unwrap().retain(|name| name != call);
            }
            let path = self.bed.path().join("narrow.json");
            std::fs::write(&path, profile.to_string()).unwrap();
            let mut verify = agent(&["profile", "verify"]);
            let said = run_for(DEADLINE, verify.arg(&path).arg("--").args(&self.words)).unwrap();
            let is_of = |line: &str| line.split_whitespace().nth(1) == Some(call);
            assert!(said.status.code() == Some(1) && said.stderr.lines().any(is_of), "{call}: {said}");
            let ended = self.launched(&path);
            assert!(!ended.success(), "{call}: {ended}");
        }
    }
}

/// The agent, with an environment like that of a bundle.
fn agent(words: &[&str]) -> Command {
    let mut command = Command::new(binaries::agent().unwrap());
    command.args(words).env_clear().env("PATH", "/bin");
    command
}

fn python(script: &str) -> Program {
    Program::new(&["/usr/bin/python3", "-I", "-c", script])
}

#[test]
fn nginx_serves_under_its_profile_and_the_recording_says_how() {
    let nginx = python(NGINX);
    nginx.is_enforced();
    let mut show = agent(&["recordings", "show", "program", "--output", "json"]);
    let shown = run_for(DEADLINE, show.args(["--recordings", &nginx.store()])).unwrap();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    for call in ["accept4", "epoll_wait", "sendfile"] {
        let is_it = |shown: &&Value| shown["call"] == call && shown["caller"]["comm"] == "nginx";
        let seen = shown["calls"].as_array().unwrap().iter().find(is_it);
        let seen = seen.unwrap_or_else(|| panic!("no {call}: {shown}"));
        assert!(seen["count"].as_u64() >= Some(3) && seen["runs"] == 3, "{call}: {seen}");
    }
    nginx.needs(&["accept4", "sendfile"]);
}

#[test]
fn redis_answers_and_saves_under_its_profile() {
    let redis = python(REDIS);
    redis.is_enforced();
    redis.needs(&["epoll_wait"]);
}

#[test]
fn a_database_works_under_its_profile() {
    let sqlite = Program::new(&["/usr/bin/sqlite3", ":memory:", SQLITE]);
    sqlite.is_enforced();
    sqlite.needs(&["openat", "execve"]);
}

#[test]
fn python_with_threads_and_children_works_under_its_profile() {
    python(PYTHON).is_enforced();
}

#[test]
fn a_shell_with_pipes_and_signals_works_under_its_profile() {
    // Of the shells, the one that asks for interrupted calls to be restarted.
    let bash = Program::new(&["/usr/bin/bash", "--norc", "-c", BASH]);
    bash.is_enforced();
    bash.needs(&["wait4"]);
}

#[test]
fn a_go_program_works_under_its_profile() {
    Program::new(&["/usr/sbin/runc", "--version"]).is_enforced();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_32_bit_program_works_under_its_profile() {
    let mut old = Program::new(&[]);
    let (source, program) = (old.bed.path().join("old.s"), old.bed.path().join("old"));
    std::fs::write(&source, OF_32_BITS).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-o"]);
    let built = run_for(DEADLINE, compiler.arg(&program).arg(&source)).unwrap();
    assert!(built.success(), "{built}");
    old.words = vec![program.to_str().unwrap().to_owned()];
    old.is_enforced();
}
