//! The kernel does with a filter what the interpreter and the normal form say.
//!
//! A filter is of one thread and cannot be taken off, so each is loaded by a thread of its own. What kills more than a
//! thread runs in another process: this program again, with only the test `child`.

use crate::{default_profile, strategy};
use proptest::prelude::*;
use rustix::fs::{Advice, MemfdFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use seccomp_agent_profile::{Action, Condition, NormalForm, Profile, Program, SeccompData, compile};
use seccomp_agent_syscall::{Arch, Syscall};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const SIGSYS: i32 = 31;
const ENOSYS: i32 = 38;

fn load(filter: &Program) {
    let instructions: Vec<_> = filter
        .instructions()
        .iter()
        .map(|i| seccompiler::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    seccompiler::apply_filter(&instructions).unwrap();
}

/// Runs `calls` in a thread under the filter.
pub(crate) fn under<T: Send>(filter: &Program, calls: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            load(filter);
            calls()
        });
        thread.join().unwrap()
    })
}

fn meaning(profile: &Profile) -> NormalForm {
    profile.resolve(Arch::X86_64).normal_form
}

/// `fadvise64` harms nothing and shows the kernel two arguments of 64 bits.
pub(crate) fn fadvise(file: &OwnedFd, offset: u64, length: u64) -> i32 {
    rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::Normal)
        .map_or_else(Errno::raw_os_error, |()| 0)
}

pub(crate) fn memfd() -> OwnedFd {
    rustix::fs::memfd_create("profile", MemfdFlags::CLOEXEC).unwrap()
}

/// An errno that the call does not give by itself.
const MARK: u16 = 1234;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn arguments_are_compared_as_the_normal_form_says(
        conditions in prop::collection::vec(strategy::condition(1..3), 1..4),
        arguments in prop::collection::vec((strategy::value(), strategy::value()), 1..20),
    ) {
        let near = conditions.iter().map(|condition| match *condition {
            condition if condition.matches(&[0; 6]) => (0, 0),
            _ => (1 << 32, 1),
        });
        let arguments: Vec<_> = arguments.into_iter().chain(near).collect();
        let profile = Profile::new(Action::Allow).rule_when(Action::Errno(MARK), ["fadvise64"], conditions);
        let form = meaning(&profile);
        let file = memfd();
        let filter = compile(&form).unwrap();
        let results = under(&filter, || {
            arguments.iter().map(|(offset, length)| fadvise(&file, *offset, *length)).collect::<Vec<_>>()
        });
        let call = Syscall::named(Arch::X86_64, "fadvise64").unwrap();
        for ((offset, length), result) in arguments.into_iter().zip(results) {
            let arguments = [u64::try_from(file.as_raw_fd()).unwrap(), offset, length, 0, 0, 0];
            let refused = form.action_for(call, &arguments) == Action::Errno(MARK);
            prop_assert_eq!(refused, result == i32::from(MARK), "{} {} gives {}\n{}", offset, length, result, form);
            prop_assert_eq!(filter.run(&SeccompData::new(call, arguments)), form.action_for(call, &arguments));
        }
    }
}

#[test]
fn every_errno_arrives() {
    let file = memfd();
    for errno in 0..4095_u16 {
        let profile = Profile::new(Action::Allow).rule(Action::Errno(errno), ["fadvise64"]);
        let filter = compile(&meaning(&profile)).unwrap();
        assert_eq!(under(&filter, || fadvise(&file, 0, 0)), i32::from(errno));
    }
}

#[test]
fn several_errnos_for_one_call_are_told_apart_by_its_arguments() {
    let file = memfd();
    let rule = |profile: Profile, errno: u16| {
        let condition = Condition::new(1, seccomp_agent_profile::Comparison::Equal(errno.into())).unwrap();
        profile.rule_when(Action::Errno(errno), ["fadvise64"], [condition])
    };
    let profile = (100..300).fold(Profile::new(Action::Allow), rule);
    let filter = compile(&meaning(&profile)).unwrap();
    under(&filter, || {
        for offset in 99..301_u16 {
            let expected = if (100..300).contains(&offset) { offset } else { 0 };
            assert_eq!(fadvise(&file, offset.into(), 0), i32::from(expected));
        }
    });
}

#[test]
fn a_call_that_nobody_answers_does_not_exist() {
    let file = memfd();
    for action in [Action::Notify, Action::Trace(7)] {
        let filter = compile(&meaning(&Profile::new(Action::Allow).rule(action, ["fadvise64"]))).unwrap();
        assert_eq!(under(&filter, || fadvise(&file, 0, 0)), ENOSYS, "{action}");
    }
    let filter = compile(&meaning(&Profile::new(Action::Allow).rule(Action::Log, ["fadvise64"]))).unwrap();
    assert_eq!(under(&filter, || fadvise(&file, 0, 0)), 0);
}

#[test]
fn a_killed_thread_leaves_the_others_alone() {
    let filter =
        compile(&meaning(&Profile::new(Action::Allow).rule(Action::KillThread, ["fadvise64"]))).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    // Not joined: what the standard library keeps for a thread's result would be missing.
    std::thread::spawn(move || {
        sender.send(rustix::thread::gettid()).unwrap();
        load(&filter);
        fadvise(&memfd(), 0, 0);
        sender.send(rustix::thread::gettid()).unwrap();
    });
    let task = format!("/proc/self/task/{}", receiver.recv().unwrap().as_raw_nonzero());
    while std::fs::exists(&task).unwrap() {
        std::thread::yield_now();
    }
    assert!(receiver.try_recv().is_err(), "the call did not come back");
}

const CHILD: &str = "SECCOMP_AGENT_PROFILE_CHILD";

#[test]
fn a_killed_or_trapped_process_ends_with_sigsys() {
    for (action, signal) in
        [("SCMP_ACT_KILL_PROCESS", Some(SIGSYS)), ("SCMP_ACT_TRAP", Some(SIGSYS)), ("SCMP_ACT_ALLOW", None)]
    {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kernel::child"])
            .env(CHILD, action)
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), signal, "{action}: {child:?}");
    }
}

/// The child of the test above; by itself it has nothing to do.
#[test]
fn child() {
    if let Ok(action) = std::env::var(CHILD) {
        let profile = format!(
            r#"{{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{{"names": ["fadvise64"], "action": "{action}"}}]}}"#
        );
        load(&compile(&meaning(&Profile::from_json(profile.as_bytes()).unwrap())).unwrap());
        assert_eq!(fadvise(&memfd(), 0, 0), 0);
    }
}

/// A program for i386 that makes the call `number` by `int 0x80` and exits with the errno.
fn i386_program(number: u8) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let code = [
        &[0xB8, number, 0, 0, 0][..], // mov eax, number
        &[0x31, 0xDB],                // xor ebx, ebx
        &[0xCD, 0x80],                // int 0x80
        &[0x89, 0xC3],                // mov ebx, eax
        &[0xF7, 0xDB],                // neg ebx
        &[0xB8, 1, 0, 0, 0],          // mov eax, 1 (exit)
        &[0xCD, 0x80],                // int 0x80
    ]
    .concat();
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let half = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let word = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    [
        b"\x7FELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(), // 32 bits, little endian
        half(&[2, 3]),                                     // an executable for i386
        word(&[1, BASE + HEADERS, 52, 0, 0]),              // version, entry, program headers, sections, flags
        half(&[52, 32, 1, 0, 0, 0]),                       // one program header
        word(&[1, 0, BASE, BASE, size, size, 5, 0x1000]),  // load it all, readable and executable
        code,
    ]
    .concat()
}

#[test]
fn programs_of_32_bits_are_judged_by_their_own_table_and_killed_where_it_is_missing() {
    let directory = std::env::temp_dir().join(format!("seccomp-agent-profile-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    // `uname` to i386, `setfsuid` to x86_64.
    let program = directory.join("i386");
    std::fs::write(&program, i386_program(122)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let status = |profile: &Profile| {
        let filter = compile(&meaning(profile)).unwrap();
        under(&filter, || Command::new(&program).status().unwrap())
    };
    let profile = Profile::new(Action::Allow).rule(Action::Errno(77), ["uname"]);
    let both = status(&profile.clone().architectures([Arch::X86]));
    let native_only = status(&profile);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(both.code(), Some(77), "{both}");
    assert_eq!(native_only.signal(), Some(SIGSYS), "{native_only}");
}

#[test]
fn a_program_lives_under_the_default_profile() {
    let filter = compile(&default_profile::meaning().with_enosys_for_unknown()).unwrap();
    let (unmounted, file, output) = under(&filter, || {
        let output = Command::new("true").status();
        (
            rustix::mount::unmount("/no/such/place", UnmountFlags::empty()),
            std::fs::read("/proc/self/stat"),
            output,
        )
    });
    assert_eq!(unmounted, Err(Errno::PERM));
    assert!(file.is_ok());
    assert!(output.unwrap().success());
}
