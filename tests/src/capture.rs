use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use crate::Bed;

/// Names the directory that captured states are written to.
const DIRECTORY: &str = "SECCOMP_AGENT_CAPTURE";

/// How long a runtime may take to say something.
const DEADLINE: Duration = Duration::from_secs(20);

/// Stands in for an agent to see what runtimes send. It drops the listeners: notified calls fail with ENOSYS.
#[derive(Debug)]
pub struct Capture {
    listener: UnixListener,
    socket: PathBuf,
}

impl Capture {
    /// Listens on the bed's socket.
    pub fn new(bed: &Bed) -> anyhow::Result<Self> {
        let socket = bed.socket();
        let listener = UnixListener::bind(&socket).context("cannot listen in the test bed")?;
        Ok(Self { listener, socket })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the next connection brings: the text of one state, as it was sent. With the environment variable
    /// `SECCOMP_AGENT_CAPTURE`, it is also written to the file `name`.json in the directory that this names.
    pub fn state(&self, name: &str) -> anyhow::Result<String> {
        let mut peers = [PollFd::new(&self.listener, PollFlags::IN)];
        if poll(&mut peers, Some(&DEADLINE.try_into()?))? == 0 {
            bail!("{name}: nobody connects");
        }
        let text = read(self.listener.accept()?.0).with_context(|| format!("{name}: no state"))?;
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            std::fs::write(Path::new(&directory).join(name).with_extension("json"), &text)?;
        }
        Ok(text)
    }
}

/// Reads one JSON value. Without room for descriptors, the kernel closes those that come with it.
fn read(mut stream: UnixStream) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while serde_json::from_slice::<Value>(&text).is_err() {
        match stream.read(&mut chunk)? {
            0 => bail!("the connection ends after {:?}", String::from_utf8_lossy(&text)),
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8(text)?)
}
