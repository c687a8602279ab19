//! Callers in numbers: threads beside each other, processes that are killed or stopped inside a call.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process};

/// Executes `program` in a child while another thread makes calls, and prints how long the first took and
/// what the longest of the others was, in milliseconds.
pub(crate) fn exec_beside_thread(program: &Path) -> anyhow::Result<()> {
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (held, longest, calls) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let (mut longest, mut calls) = (Duration::ZERO, 0_u64);
            while !done.load(Relaxed) {
                let call = Instant::now();
                let _parent = getppid();
                longest = longest.max(call.elapsed());
                calls += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            (longest, calls)
        });
        let status = Command::new(program).status();
        let held = start.elapsed();
        done.store(true, Relaxed);
        let (longest, calls) = beside.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))?;
        let status = status.with_context(|| format!("cannot execute {}", program.display()))?;
        ensure!(status.success(), "{} ended with {status}", program.display());
        Ok((held, longest, calls))
    })?;
    println!(
        "execve took {} ms; meanwhile the other thread made {calls} calls, the longest {} ms",
        held.as_millis(),
        longest.as_millis()
    );
    Ok(())
}

/// Executes `command` in place of this process, as the user `uid` and the group `gid` alone.
pub(crate) fn run_as(uid: u32, gid: u32, command: &[String]) -> anyhow::Result<()> {
    let [program, arguments @ ..] = command else { bail!("nothing to execute") };
    let error = Command::new(program).args(arguments).uid(uid).gid(gid).exec();
    Err(error).with_context(|| format!("cannot execute {program}"))
}

/// Makes `calls` calls from each of `threads` threads.
pub(crate) fn many_threads(threads: usize, calls: usize) -> anyhow::Result<()> {
    let right = getppid();
    let wrong = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || (0..calls).filter(|_| getppid() != right).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(calls)).sum::<usize>()
    });
    ensure!(wrong == 0, "{wrong} calls were answered wrongly");
    println!("{threads} threads made {calls} calls each");
    Ok(())
}

/// Kills `children` processes, each a little later into its calls.
pub(crate) fn kill(children: u32) -> anyhow::Result<()> {
    for step in 0..children {
        let mut child = spin_in_a_child(None)?;
        std::thread::sleep(Duration::from_micros(u64::from(step) * 37 % 2000));
        child.kill()?;
        child.wait()?;
    }
    println!("killed {children} callers");
    Ok(())
}

/// Interrupts a process inside its calls `times` times; it has to end by itself, every call answered.
pub(crate) fn stop_and_continue(times: u32) -> anyhow::Result<()> {
    let mut child = spin_in_a_child(Some(20_000))?;
    let pid = Pid::from_child(&child);
    for step in 0..times {
        kill_process(pid, Signal::STOP)?;
        std::thread::sleep(Duration::from_micros(u64::from(step) * 53 % 500));
        kill_process(pid, Signal::CONT)?;
        std::thread::sleep(Duration::from_micros(u64::from(step) * 71 % 500));
    }
    let status = child.wait()?;
    ensure!(status.success(), "the interrupted caller ended with {status}");
    println!("interrupted a caller {times} times");
    Ok(())
}

/// Makes calls for ever, or `count` of them.
pub(crate) fn spin(count: Option<u64>) -> anyhow::Result<()> {
    let right = getppid();
    let mut made = 0;
    while count != Some(made) {
        ensure!(getppid() == right, "call {made} was answered wrongly");
        made += 1;
    }
    Ok(())
}

fn spin_in_a_child(count: Option<u64>) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("spin").args(count.map(|count| count.to_string())).stdout(Stdio::null());
    command.spawn().context("cannot start a caller")
}
