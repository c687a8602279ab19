use anyhow::{Context, bail};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use seccomp_agent_agent::Socket;

/// The socket that systemd passed in (`sd_listen_fds(3)`), if it did.
pub(crate) fn socket() -> anyhow::Result<Option<Socket>> {
    let mut passed = sd_notify::listen_fds().context("reading LISTEN_FDS")?;
    let Some(number) = passed.next() else { return Ok(None) };
    if passed.next().is_some() {
        bail!("systemd passed in several sockets; the socket unit should have one ListenStream=");
    }
    // A number proves no ownership, so the descriptor is duplicated; the original goes with the process.
    let this = pidfd_open(getpid(), PidfdFlags::empty()).context("opening a pidfd of ourselves")?;
    let fd = pidfd_getfd(this, number, PidfdGetfdFlags::empty())
        .with_context(|| format!("LISTEN_FDS names descriptor {number}, which cannot be taken over"))?;
    Ok(Some(Socket::inherited(fd).context("the socket that systemd passed in")?))
}
