use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use seccomp_agent_launcher::Container;
use tempfile::TempDir;

use super::Workload;

/// The C compiler, which compiles a file whenever it is asked to: some processes, and headers to read.
pub(super) struct Compiler {
    place: TempDir,
    /// Once it has been started: where it is asked, and answers.
    running: Option<(File, File, Container)>,
}

const FUNCTIONS: usize = 5;

/// Of the shells, the one that copes with calls that a signal interrupts.
const SHELL: &str = "exec 3<request 4>answer; while read -r _ <&3; do cc -O1 -c source.c; echo $? >&4; done";

/// How long a file may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Compiler {
    pub(super) fn new() -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let headers = ["ctype", "errno", "signal", "stdio", "stdlib", "string", "time", "unistd"];
        let mut text = headers.map(|header| format!("#include <{header}.h>\n")).concat();
        for function in 0..FUNCTIONS {
            writeln!(
                text,
                "int f{function}(int x) {{ char s[64]; snprintf(s, sizeof s, \"%d\", x); return atoi(s); }}"
            )?;
        }
        std::fs::write(place.path().join("source.c"), text)?;
        let made = Command::new("mkfifo").args(["request", "answer"]).current_dir(&place).status()?;
        ensure!(made.success(), "mkfifo ended with {made}");
        Ok(Self { place, running: None })
    }

    /// Never waits for the other end.
    fn open(&self, name: &str) -> anyhow::Result<File> {
        let path = self.place.path().join(name);
        OpenOptions::new().read(true).write(true).open(path).context("opening a pipe to the compiler")
    }
}

impl Workload for Compiler {
    fn command(&self) -> Vec<OsString> {
        let script = format!("cd {}; {SHELL}", self.place.path().display());
        ["bash".into(), "--norc".into(), "-c".into(), script.into()].into()
    }

    /// From asking to the answer.
    fn work(&mut self, start: &dyn Fn() -> anyhow::Result<Container>) -> anyhow::Result<f64> {
        if self.running.is_none() {
            self.running = Some((self.open("request")?, self.open("answer")?, start()?));
        }
        let (request, answer, _) = self.running.as_mut().context("nothing is running")?;
        let begin = Instant::now();
        request.write_all(b"\n")?;
        let ready = poll(&mut [PollFd::new(answer, PollFlags::IN)], Some(&PATIENCE.try_into()?))?;
        ensure!(ready == 1, "the compiler has not ended after {PATIENCE:?}");
        let took = begin.elapsed().as_secs_f64() * 1e3;
        let mut status = [0; 2];
        answer.read_exact(&mut status)?;
        ensure!(status == *b"0\n", "the compiler has failed");
        Ok(took)
    }
}
