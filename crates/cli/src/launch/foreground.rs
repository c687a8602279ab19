use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use seccomp_agent_launcher::{Container, Ended, Event, Signal as Forwarded};

/// This process in place of its command, to those who started it: a terminal or a shell's job control.
///
/// Both are in one process group, so that the terminal's own signals (Ctrl-C, Ctrl-Z, a change of size) reach
/// the command without us. Those that somebody sends to us alone are passed on. When the command stops, so do we.
pub(crate) struct Foreground {
    signals: SignalFd,
    /// Whether we were the terminal's foreground when we started, so that we have to give it back.
    is_foreground: bool,
}

/// What this process stands in place of.
pub(crate) trait Command: AsFd {
    /// Its process.
    fn pid(&self) -> u32;
    /// Sends it a signal. ESRCH: it has ended.
    fn signal(&self, signal: Forwarded) -> Result<(), Errno>;
    /// What became of it, once its descriptor is readable.
    fn next_event(&mut self) -> anyhow::Result<Event>;
}

impl Command for Container {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn signal(&self, signal: Forwarded) -> Result<(), Errno> {
        self.signal(signal)
    }

    fn next_event(&mut self) -> anyhow::Result<Event> {
        Ok(self.next_event()?)
    }
}

/// What is done again and again while a command runs.
pub(crate) struct Meanwhile<'a> {
    /// How often.
    pub(crate) every: Duration,
    /// What. The command is sent the signal that this returns, if any.
    pub(crate) act: &'a mut dyn FnMut() -> Option<Forwarded>,
}

/// What is passed on. SIGURG is the engine's; SIGKILL and SIGSTOP cannot be.
pub(crate) const FORWARDED: [Signal; 15] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
];

impl Foreground {
    /// Blocks what will be passed on, in this thread and those that it starts.
    pub(crate) fn take(forwarded: &[Signal]) -> anyhow::Result<Self> {
        let mask: SigSet = forwarded.iter().copied().collect();
        mask.thread_block().context("blocking signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).context("making a signalfd")?;
        Ok(Self { signals, is_foreground: terminal_group() == Some(getpgrp()) })
    }

    /// Waits for the command's end.
    pub(crate) fn wait<C: Command>(
        &self,
        command: &mut C,
        mut meanwhile: Option<Meanwhile<'_>>,
    ) -> anyhow::Result<Ended> {
        let timeout = meanwhile.as_ref().map(|meanwhile| meanwhile.every.try_into()).transpose();
        let timeout = timeout.context("so long cannot be waited")?;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(command.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => continue,
                other => other.context("poll")?,
            };
            let has_event = !fds[0].revents().is_empty();
            self.forward(command);
            if let Some(signal) = meanwhile.as_mut().and_then(|meanwhile| (meanwhile.act)()) {
                // ESRCH: the command has ended, which is about to be reported.
                let _sent = command.signal(signal);
            }
            if !has_event {
                continue;
            }
            match command.next_event()? {
                Event::Ended(ended) => {
                    self.give_terminal_back();
                    return Ok(ended);
                }
                Event::Stopped(number) => self.stop(number, command)?,
                Event::Continued => {}
            }
        }
    }

    fn forward(&self, command: &impl Command) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            // The kernel's own went to the command as well, and what the command sends to its group is its affair.
            let is_ours_alone = info.ssi_code <= 0 && info.ssi_pid != command.pid();
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if is_ours_alone && let Some(signal) = Forwarded::from_named_raw(number) {
                // ESRCH: the command has ended, which is about to be reported.
                let _sent = command.signal(signal);
            }
        }
    }

    /// Stops as the command was stopped, for the shell to see, and continues the command afterwards.
    fn stop(&self, number: i32, command: &impl Command) -> anyhow::Result<()> {
        let signal = Signal::try_from(number).unwrap_or(Signal::SIGSTOP);
        self.give_terminal_back();
        let one = SigSet::from(signal);
        one.thread_unblock().context("unblocking signals")?;
        signal::kill(getpid(), signal).with_context(|| format!("stopping with {signal}"))?;
        if signal != Signal::SIGSTOP {
            one.thread_block().context("blocking signals")?;
        }
        // ESRCH: it was killed meanwhile.
        let _sent = command.signal(Forwarded::CONT);
        Ok(())
    }

    /// A shell in the command may have made one of its own jobs the terminal's foreground.
    fn give_terminal_back(&self) {
        if self.is_foreground && terminal_group().is_some_and(|group| group != getpgrp()) {
            // SIGTTOU is blocked, so this works from the background.
            let _given = tcsetpgrp(std::io::stdin(), getpgrp());
        }
    }
}

/// The foreground process group of the terminal that is our standard input.
fn terminal_group() -> Option<Pid> {
    tcgetpgrp(std::io::stdin()).ok()
}
