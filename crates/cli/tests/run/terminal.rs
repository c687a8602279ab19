//! At a terminal, as `env COMMAND` would be. `script(1)` is the terminal.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// A shell script at a terminal of its own.
struct Terminal {
    script: Child,
    output: std::sync::mpsc::Receiver<u8>,
    seen: String,
}

impl Terminal {
    /// `$A` is the agent.
    fn start(commands: &str) -> Self {
        // Whoever started the tests in the background has them ignore Ctrl-C.
        let mut script = Command::new("env");
        script
            .args(["--default-signal", "script", "--quiet", "--return", "--command"])
            .arg(format!("exec bash --norc -m -c '{commands}'"));
        let mut script = script
            .arg("/dev/null")
            .env("A", env!("CARGO_BIN_EXE_seccomp-agent"))
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = script.stdout.take().unwrap();
        let (send, output) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stdout.read(&mut byte).is_ok_and(|read| read == 1) && send.send(byte[0]).is_ok() {}
        });
        Self { script, output, seen: String::new() }
    }

    fn expect(&mut self, word: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(word) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(byte) => self.seen.push(char::from(byte)),
                Err(error) => panic!("{error}: no {word:?} in {:?}", self.seen),
            }
        }
        let at = self.seen.find(word).unwrap() + word.len();
        self.seen.drain(..at);
    }

    fn type_in(&mut self, text: &str) {
        // What says that it is ready may still be on its way into its waiting.
        std::thread::sleep(Duration::from_millis(200));
        let stdin = self.script.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _killed = self.script.kill();
        let _ended = self.script.wait();
    }
}

#[test]
fn ctrl_c_ends_the_command_with_130() {
    let mut terminal = Terminal::start("$A run -- sh -c \"echo rea\"dy\"; sleep 60\"; echo status $?");
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.expect("status 130");
}

#[test]
fn ctrl_c_is_the_commands_to_handle_and_comes_once() {
    let script =
        "trap \"echo caught\" INT; echo rea\"dy\"; read -r line; read -r line; echo \"[$line]\"; exit 5";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let mut terminal = Terminal::start(&format!("$A run -- bash {}; echo status $?", file.path().display()));
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.type_in("one\n");
    terminal.expect("caught");
    terminal.type_in("two\n");
    terminal.expect("[two]");
    assert!(!terminal.seen.contains("caught"));
    terminal.expect("status 5");
}

#[test]
fn ctrl_z_stops_and_fg_continues() {
    let commands = "$A run --resolver demo-basic -- sh -c \"echo rea\"dy\"; read line; echo got \\$line\"; \
                    echo stopped $?; fg; echo status $?";
    let mut terminal = Terminal::start(commands);
    terminal.expect("ready");
    terminal.type_in("\x1a");
    terminal.expect("stopped 148");
    terminal.type_in("word\n");
    terminal.expect("got word");
    terminal.expect("status 0");
}

#[test]
fn the_terminal_is_the_commands_with_its_size() {
    let commands = "stty rows 33 cols 77; $A run -- sh -c \"stty size; test -t 0 && test -t 1 && echo tty\"; \
                    $A run -- bash -i -c \"echo inner\"; read line; echo outer $line";
    let mut terminal = Terminal::start(commands);
    terminal.expect("33 77");
    terminal.expect("tty");
    terminal.expect("inner");
    terminal.type_in("still\n");
    terminal.expect("outer still");
}

#[test]
fn a_line_says_what_was_recorded_so_far_and_is_gone_at_the_end() {
    let mut terminal = Terminal::start("$A record -- sleep 1; echo status $?");
    terminal.expect(" different, newest ");
    terminal.expect("\r\x1b[Kcount");
    terminal.expect("status 0");
}
