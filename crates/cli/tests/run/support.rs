//! Running the binary, with a limit to how long it may take.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a command has said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `seccomp-agent` with these arguments.
pub(crate) fn agent<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seccomp-agent"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// `seccomp-agent run` with these arguments, to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Said {
    let mut command = agent(&["run"]);
    finish(command.args(arguments))
}

/// `seccomp-agent run` with these options and a shell script.
pub(crate) fn shell(options: &[&str], script: &str) -> Said {
    run(&[options, &["--", "sh", "-c", script]].concat())
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Said {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finish_child(child, b"")
}

/// Gives a command its input, and waits for its end.
pub(crate) fn finish_child(mut child: Child, input: &[u8]) -> Said {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).unwrap();
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || read(out));
    let err = std::thread::spawn(move || read(err));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                panic!("it does not end: {:?} {:?}", out.join(), err.join());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Said { status: status.code(), stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn read(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `condition` comes to hold.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// The processes whose command line contains `word`.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(word.len()).any(|window| window == word.as_bytes())
    })
    .collect()
}

/// A directory that other users may enter.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Copies a program. Not by this process: what it has open for writing while another test forks cannot be executed.
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// A root filesystem with a static busybox, and nothing else.
pub(crate) fn rootfs() -> TempDir {
    let root = directory();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    copy_program(busybox.expect("these tests need busybox-static"), bin.join("busybox"));
    for name in
        ["cat", "chmod", "grep", "head", "hostname", "id", "ls", "mkdir", "mount", "sh", "stat", "test"]
    {
        symlink("busybox", bin.join(name)).unwrap();
    }
    root
}

/// Writes a profile into `directory`.
pub(crate) fn profile(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("profile.json");
    fs::write(&path, text).unwrap();
    path
}

/// The value of a line of a `/proc/PID/status` that was printed.
pub(crate) fn field<'a>(said: &'a Said, name: &str) -> &'a str {
    let value = said.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {said:?}")).trim()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
