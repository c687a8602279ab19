//! What a container that sees its helper's process can do to it. Needs root.
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod inside;

use std::ffi::c_void;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::pipe;
use rustix::process::getpid;
use seccomp_agent_nsenter::{Caller, Capabilities, Error, Keeper};

use inside::{Inside, until};

const ASLEEP: [&str; 2] = ["sleep", "60"];

/// The helper's process, which acts for `tid`.
fn helper(tid: u32, keeper: &Keeper) -> Result<u32, Error> {
    let caller = Caller::open_kept(tid, keeper).unwrap();
    caller.act(|| true, Capabilities::empty(), |_| Ok(getpid().as_raw_nonzero().get().cast_unsigned()))
}

/// Acts until the other end of a pipe is closed.
fn act_for_long(tid: u32, keeper: &Keeper, until_closed: &OwnedFd) -> Result<usize, Error> {
    let caller = Caller::open_kept(tid, keeper).unwrap();
    caller.act(|| true, Capabilities::empty(), |_| rustix::io::read(until_closed, &mut [0_u8; 1][..]))
}

/// Runs one of the functions below, which do nothing by themselves, in a process of its own.
fn this_program(test: &str, arguments: &[u32]) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let arguments: Vec<_> = arguments.iter().map(u32::to_string).collect();
    let variable = format!("{ARGUMENTS}={}", arguments.join(" "));
    let words =
        ["env", &variable, program.to_str().unwrap(), "--exact", test, "--nocapture", "--test-threads=1"];
    words.map(str::to_owned).to_vec()
}

const ARGUMENTS: &str = "HELPER_TEST_PROCESSES";

fn arguments() -> Vec<u32> {
    let words = std::env::var(ARGUMENTS).unwrap_or_default();
    words.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Everything that opens a process's memory or descriptors, by the name of what opened.
fn openings(process: u32) -> Vec<String> {
    let entries = [
        "mem",
        "maps",
        "smaps",
        "environ",
        "auxv",
        "pagemap",
        "syscall",
        "stack",
        "fd",
        "fdinfo",
        "fd/0",
        "fd/1",
        "map_files",
        "ns/user",
        "ns/mnt",
        "root/",
        "cwd/",
        "exe",
        "personality",
        "io",
    ];
    let of_task = entries.iter().map(|entry| format!("/proc/{process}/task/{process}/{entry}"));
    let all = entries.iter().map(|entry| format!("/proc/{process}/{entry}")).chain(of_task);
    let mut opened: Vec<_> =
        all.filter(|path| fs::File::open(path).is_ok_and(|mut file| can_use(path, &mut file))).collect();
    let links = ["root", "cwd", "exe", "fd/0", "ns/user"].map(|link| format!("/proc/{process}/{link}"));
    opened.extend(links.into_iter().filter(|link| fs::read_link(link).is_ok()));
    opened.extend(calls(process).into_iter().filter(|(_, worked)| *worked).map(|(name, _)| name.to_owned()));
    opened
}

/// Some files open for everybody and give nothing.
fn can_use(path: &str, file: &mut fs::File) -> bool {
    let is_directory = file.metadata().unwrap().is_dir();
    path.ends_with("mem")
        || path.ends_with('/')
        || path.contains("/ns/")
        || if is_directory {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some_and(|entry| entry.is_ok()))
        } else {
            std::io::Read::read(file, &mut [0; 16]).is_ok_and(|read| read > 0)
        }
}

fn calls(process: u32) -> [(&'static str, bool); 4] {
    let pid = process.cast_signed();
    let mut byte = 0_u8;
    let ours = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // Where this program has something, and so the helper if it were looked into.
    let theirs = libc::iovec { iov_base: openings as *const () as *mut c_void, iov_len: 1 };
    // SAFETY: reads at most one byte into `byte`; both vectors live through the call.
    let read = unsafe { libc::process_vm_readv(pid, &raw const ours, 1, &raw const theirs, 1, 0) };
    let read = read >= 0 || Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::FAULT);
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    let got =
        rustix::process::pidfd_getfd(pidfd.as_fd(), 0, rustix::process::PidfdGetfdFlags::empty()).is_ok();
    let null = std::ptr::null_mut::<c_void>();
    // SAFETY: changes nothing here; on success the other process is traced until this one ends.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, null, null) } == 0;
    // SAFETY: as above.
    let attached = !seized && unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, null, null) } == 0;
    [("process_vm_readv", read), ("pidfd_getfd", got), ("PTRACE_SEIZE", seized), ("PTRACE_ATTACH", attached)]
}

#[test]
fn attacker() {
    if let [process] = arguments()[..] {
        println!("opened: {:?}", openings(process));
    }
}

/// What root of the namespace can open of a process.
fn opened_inside(inside: &Inside, process: u32) -> String {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = folder.path().join("attacker");
    // Not by this process: what it starts meanwhile would keep the program open for writing.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut words = this_program("attacker", &[process]);
    program.to_str().unwrap().clone_into(&mut words[2]);
    let run = inside.command(0, &words.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let line = said.lines().find_map(|line| line.split_once("opened: ")).map(|(_, opened)| opened.to_owned());
    line.unwrap_or_else(|| panic!("{said} {}", String::from_utf8_lossy(&run.stderr)))
}

#[test]
fn its_container_cannot_look_into_it() {
    let inside = Inside::new(&ASLEEP);
    let keeper = Keeper::new("looked-into");
    let process = helper(inside.tid(), &keeper).unwrap();
    let control = opened_inside(&inside, inside.tid());
    for opened in
        ["/mem", "/fd\"", "/environ", "/root/", "ns/user", "process_vm_readv", "pidfd_getfd", "PTRACE_SEIZE"]
    {
        assert!(control.contains(opened), "of other processes it can: {opened} {control}");
    }
    assert_eq!(opened_inside(&inside, process), "[]");
    // And while it acts, as the same user and with the same capabilities as the attacker.
    let (reader, writer) = pipe().unwrap();
    let tid = inside.tid();
    std::thread::scope(|scope| {
        let acts = scope.spawn(|| act_for_long(tid, &keeper, &reader));
        until(|| fs::read_link(format!("/proc/{process}/root")).unwrap() != Path::new("/proc"));
        assert_eq!(opened_inside(&inside, process), "[]");
        drop(writer);
        assert_eq!(acts.join().unwrap(), Ok(0));
    });
    drop(keeper);
}

fn signal(inside: &Inside, signal: &str, process: u32) {
    let script = format!("kill -{signal} {process}");
    assert!(inside.command(0, &["sh", "-c", &script]).status().unwrap().success());
}

#[test]
fn its_container_can_kill_it_and_harms_nobody_else() {
    let inside = Inside::new(&ASLEEP);
    let tid = inside.tid();
    let keeper = Keeper::new("killed");
    let others = Keeper::new("not-killed");
    let bystander = helper(tid, &others).unwrap();
    let first = helper(tid, &keeper).unwrap();
    for harmless in
        ["TERM", "INT", "SEGV", "ABRT", "QUIT", "USR1", "URG", "ALRM", "PIPE", "CHLD", "TSTP", "34"]
    {
        signal(&inside, harmless, first);
        assert_eq!(helper(tid, &keeper), Ok(first), "{harmless}");
    }
    let mut killed = vec![first];
    for deadly in ["KILL", "STOP"] {
        let (reader, writer) = pipe().unwrap();
        std::thread::scope(|scope| {
            let acts = scope.spawn(|| act_for_long(tid, &keeper, &reader));
            let process = *killed.last().unwrap();
            until(|| fs::read_link(format!("/proc/{process}/root")).unwrap() != Path::new("/proc"));
            signal(&inside, deadly, process);
            let outcome = acts.join().unwrap();
            assert_eq!(outcome, Err(Error::HelperEnded { tid }), "{deadly}");
            assert_eq!(outcome.map_err(Error::errno), Err(Errno::INTR));
        });
        drop(writer);
        killed.push(helper(tid, &keeper).unwrap());
    }
    // It is not replaced for ever.
    let refused = (0..100).find_map(|_| match helper(tid, &keeper) {
        Ok(process) => {
            signal(&inside, "KILL", process);
            until(|| !Path::new(&format!("/proc/{process}")).exists());
            None
        }
        // Its end may be seen a moment before it is noticed.
        Err(Error::HelperEnded { .. }) => None,
        Err(error) => Some(error),
    });
    let bound = "the bound on helpers that were killed";
    assert!(matches!(refused, Some(Error::NoHelper { step, .. }) if step == bound), "{refused:?}");
    assert_eq!(helper(tid, &others), Ok(bystander));
    drop(keeper);
    drop(others);
}

#[test]
fn agent() {
    let [user, tid] = arguments()[..] else { return };
    let keeper = Keeper::new("dies");
    // A change of ids makes the kernel forget who is to die with whom.
    let process = helper(user, &keeper).unwrap();
    assert_eq!(helper(tid, &keeper), Ok(process));
    let (reader, _writer) = pipe().unwrap();
    println!("\nhelper: {process}");
    std::thread::spawn(move || act_for_long(tid, &Keeper::new("dies"), &reader));
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn it_ends_with_the_agent() {
    let inside = Inside::new(&ASLEEP);
    let mut user = inside.command(5000, &ASLEEP).spawn().unwrap();
    until(|| fs::read_to_string(format!("/proc/{}/comm", user.id())).unwrap().trim() == "sleep");
    let words = this_program("agent", &[user.id(), inside.tid()]);
    let mut agent = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let process = lines.find_map(|line| Some(line.unwrap().strip_prefix("helper: ")?.to_owned())).unwrap();
    let process: PathBuf = ["/proc", &process].iter().collect();
    until(|| fs::read_link(process.join("root")).unwrap() != Path::new("/proc"));
    agent.kill().unwrap();
    agent.wait().unwrap();
    // Whoever is its parent then may not care for its remains.
    until(|| !fs::read_to_string(process.join("status")).is_ok_and(|status| !status.contains("State:\tZ")));
    user.kill().unwrap();
    user.wait().unwrap();
}
