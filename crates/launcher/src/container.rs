use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};
use seccomp_agent_notify::Listener;

use crate::channel::Channel;
use crate::error::LaunchError;
use crate::plan::Report;
use crate::spawn::Child;

/// A running container. Dropping it kills all its processes.
#[derive(Debug)]
pub struct Container {
    init: Init,
    channel: Channel,
    command: OwnedFd,
    pid: u32,
    listener: Option<Listener>,
}

/// What becomes of a container's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was stopped by this signal.
    Stopped(i32),
    /// It goes on.
    Continued,
    /// It has ended, and with it the container.
    Ended(Ended),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl Container {
    /// Waits until the filter of the container that `init` prepares is loaded.
    pub(crate) fn started(child: Child, channel: Channel) -> Result<Self, LaunchError> {
        let init = Init { pid: child.pid, pidfd: child.pidfd, is_reaped: false };
        let mut fds = match receive(&channel)? {
            (Report::Loaded, fds) => fds.into_iter(),
            (Report::Failed { status, message }, _) => return Err(LaunchError::Setup { status, message }),
            _ => return Err(LaunchError::Channel { step: "starting the container", source: Errno::PROTO }),
        };
        let failed = |source| LaunchError::Channel { step: "receiving the command's pidfd", source };
        let command = fds.next().ok_or_else(|| failed(Errno::BADMSG))?;
        let pid = pid_of(command.as_fd()).map_err(failed)?;
        let listener = fds.next().map(Listener::new).transpose();
        let listener = listener
            .map_err(|_| LaunchError::Channel { step: "receiving the listener", source: Errno::BADF })?;
        Ok(Self { init, channel, command, pid, listener })
    }

    /// The command's process, whose filter the listener is of, in the pid namespace of this process's procfs.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The listener of the container's filter, once, if it has one. Whoever holds it has to answer.
    pub fn take_listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }

    /// Sends the command a signal. ESRCH: it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.command, signal)
    }

    /// Waits for the next event. [`AsFd`] is readable when there is one. After [`Event::Ended`] there is none,
    /// and no process of the container is left.
    pub fn next_event(&mut self) -> Result<Event, LaunchError> {
        let event = match receive(&self.channel)?.0 {
            Report::Failed { status, message } => return Err(LaunchError::Setup { status, message }),
            Report::Stopped(signal) => return Ok(Event::Stopped(signal)),
            Report::Continued | Report::Loaded => return Ok(Event::Continued),
            // A process cannot exit with more than eight bits.
            Report::Exited(status) => Ended::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
            Report::Killed(signal) => Ended::Killed(signal),
        };
        self.init.reap();
        Ok(Event::Ended(event))
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Result<Ended, LaunchError> {
        loop {
            if let Event::Ended(ended) = self.next_event()? {
                return Ok(ended);
            }
        }
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Ended {
    /// As a shell has it: 128 and the signal for a command that was killed.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// The container's first process: when it is gone, all others are.
#[derive(Debug)]
struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    is_reaped: bool,
}

impl Init {
    fn reap(&mut self) {
        if !self.is_reaped {
            // ECHILD: somebody in this process waits for all children.
            let _status = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
            self.is_reaped = true;
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // ESRCH: it has ended by itself.
        let _sent = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.reap();
    }
}

fn receive(channel: &Channel) -> Result<(Report, Vec<OwnedFd>), LaunchError> {
    let received = channel.receive();
    let received = received.map_err(|source| LaunchError::Channel { step: "listening to init", source })?;
    received.ok_or(LaunchError::InitKilled)
}

/// The process of a pidfd, as `/proc/self/fdinfo` names it.
fn pid_of(pidfd: BorrowedFd<'_>) -> Result<u32, Errno> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    // -1: it has ended already. The number is for messages; what is done to the command goes through the pidfd.
    Ok(pid.unwrap_or(0))
}
