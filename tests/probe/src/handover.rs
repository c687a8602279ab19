//! Handing a listener to the agent without a runtime, for calls that the runtime's libseccomp does not know.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use seccomp_agent_notify::filter;
use seccomp_agent_syscall::{Arch, Syscall};
use serde_json::json;

/// Installs a filter that notifies `syscall`, sends its listener to `socket`, and executes `command` in place
/// of this process.
pub(crate) fn run(socket: &Path, id: &str, syscall: &str, command: &[String]) -> anyhow::Result<()> {
    let call =
        Syscall::named(Arch::native(), syscall).with_context(|| format!("no call named {syscall:?}"))?;
    let agent =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    let listener = filter::install(&filter::notifying(&[call]), filter::Flags::empty())
        .context("cannot install the filter")?;

    let pid = std::process::id();
    let state = json!({
        "ociVersion": "1.0.2",
        "fds": ["seccompFd"],
        "pid": pid,
        "state": {"ociVersion": "1.0.2", "id": id, "status": "creating", "pid": pid, "bundle": "/"},
    })
    .to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        bail!("no room for a descriptor");
    }
    let sent = sendmsg(&agent, &[IoSlice::new(state.as_bytes())], &mut ancillary, SendFlags::empty())
        .context("cannot send the listener")?;
    (&agent).write_all(&state.as_bytes()[sent..]).context("cannot send the state")?;
    drop((listener, agent));

    let [program, arguments @ ..] = command else { bail!("nothing to execute") };
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot execute {program}"))
}
