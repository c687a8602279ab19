use std::ffi::OsString;
use std::os::fd::AsFd;

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use super::failure::{Failure, step};
use crate::channel::Channel;
use crate::error::{CANNOT_EXECUTE, NOT_FOUND};
use crate::plan::Report;
use crate::shared::Shared;

/// Reaps whatever ends, and reports what becomes of the command, until it has ended or the launcher is gone.
pub(super) fn watch(
    channel: &Channel,
    children: &SignalFd,
    command: Pid,
    shared: &Shared,
    words: &[OsString],
) -> Result<(), Failure> {
    loop {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        while let Ok(Some((pid, status))) = wait(options) {
            if pid != command {
                continue;
            }
            let Some(report) = report(status, shared, words) else { continue };
            let is_last = !matches!(report, Report::Stopped(_) | Report::Continued);
            if channel.send(&report, &[]).is_err() || is_last {
                return Ok(());
            }
        }
        let mut fds =
            [PollFd::new(channel, PollFlags::IN), PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            other => drop(other.map_err(step("poll"))?),
        }
        // The launcher says nothing more, so this is its end.
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        while let Ok(Some(_)) = children.read_signal() {}
    }
}

/// Whether the process `pid`, a child, has ended; it is reaped then.
pub(super) fn has_ended(pid: Pid) -> Result<bool, Failure> {
    let ended = waitpid(Some(pid), WaitOptions::NOHANG).map_err(step("waiting for the command"))?;
    Ok(ended.is_some())
}

fn report(status: WaitStatus, shared: &Shared, words: &[OsString]) -> Option<Report> {
    if let Some(signal) = status.stopping_signal() {
        return Some(Report::Stopped(signal));
    }
    if status.continued() {
        return Some(Report::Continued);
    }
    if let Some(errno) = shared.execute_failed() {
        let name = words.first().cloned().unwrap_or_default();
        return Some(execute_failure(&name, errno).report());
    }
    let killed = status.terminating_signal().map(Report::Killed);
    killed.or_else(|| status.exit_status().map(Report::Exited))
}

/// That `name` cannot be executed, with the exit status of `env(1)`.
pub(super) fn execute_failure(name: &std::ffi::OsStr, errno: Errno) -> Failure {
    let status = if errno == Errno::NOENT { NOT_FOUND } else { CANNOT_EXECUTE };
    Failure::with_status(status, format!("executing {}", name.display()), &errno)
}
