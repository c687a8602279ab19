use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use seccomp_agent_launcher::Container;
use tempfile::TempDir;

use super::Workload;

/// nginx, with one worker that serves a page.
pub(super) struct Server {
    place: TempDir,
    /// Once it has been started.
    serving: Option<(Vec<UnixStream>, Container)>,
}

/// Connections that are kept open, each asking by a thread of its own.
const CLIENTS: usize = 2;

/// A piece of work, of all connections together.
const REQUESTS: usize = 500;

/// As small as many are that are not copied but sent by sendfile(2).
const PAGE: usize = 8 << 10;

/// How long it may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    pub(super) fn new() -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        std::fs::create_dir(place.path().join("www"))?;
        std::fs::write(place.path().join("www/page"), "x".repeat(PAGE))?;
        let at = place.path().display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};")).concat();
        let conf = format!(
            "daemon off; user root; worker_processes 1; pid {at}/pid; events {{}}
            http {{ access_log off; sendfile on; keepalive_requests 1000000; {temporary}
                server {{ listen unix:{at}/socket; root {at}/www; }} }}"
        );
        std::fs::write(place.path().join("conf"), conf)?;
        Ok(Self { place, serving: None })
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(stream) = UnixStream::connect(self.socket()) {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("nginx does not serve after {PATIENCE:?}")
    }
}

impl Workload for Server {
    fn command(&self) -> Vec<OsString> {
        let conf = self.place.path().join("conf");
        let log = self.place.path().join("log");
        ["/usr/sbin/nginx".into(), "-e".into(), log.into(), "-c".into(), conf.into()].into()
    }

    /// From the first request to the last answer.
    fn work(&mut self, start: &dyn Fn() -> anyhow::Result<Container>) -> anyhow::Result<f64> {
        if self.serving.is_none() {
            let container = start()?;
            let mut clients = (0..CLIENTS).map(|_| self.connect()).collect::<anyhow::Result<Vec<_>>>()?;
            clients.iter_mut().try_for_each(|client| ask(client, 1))?;
            self.serving = Some((clients, container));
        }
        let clients = self.serving.iter_mut().flat_map(|(clients, _)| clients);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let asking: Vec<_> =
                clients.map(|client| scope.spawn(|| ask(client, REQUESTS / CLIENTS))).collect();
            let mut all = asking.into_iter();
            all.try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }
}

/// Asks for the page so often on one connection, each time when it has come.
fn ask(stream: &mut UnixStream, times: usize) -> anyhow::Result<()> {
    let mut buffer = vec![0; PAGE * 2];
    for _ in 0..times {
        stream.write_all(b"GET /page HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        let mut length = 0;
        loop {
            let read = stream.read(&mut buffer[length..]).context("reading what nginx answers")?;
            ensure!(read > 0, "nginx has closed the connection");
            length += read;
            let head = buffer[..length].windows(4).position(|four| four == b"\r\n\r\n");
            if head.is_some_and(|head| length >= head + 4 + PAGE) {
                break;
            }
        }
        ensure!(buffer.starts_with(b"HTTP/1.1 200 "), "nginx has not served the page");
    }
    Ok(())
}
