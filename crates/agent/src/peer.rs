use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokio::net::UnixStream;

/// The longest name of a program that is looked at: `PATH_MAX` of `limits.h`.
const MAX_PROGRAM: u64 = 4096;

/// The name of the program at the other end, as it calls itself, without its directory. It has to be asked early:
/// crun is gone by the time its message arrives. `None` if the peer is gone, or not visible in our pid namespace.
pub(crate) fn program(stream: &UnixStream) -> Option<String> {
    let pid = stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)?;
    let mut command = Vec::new();
    // Not `exe` or `comm`: runtimes that run from a sealed copy of themselves have neither.
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MAX_PROGRAM).read_to_end(&mut command).ok()?;
    let program = command.split(|byte| *byte == 0).next()?;
    Some(Path::new(std::str::from_utf8(program).ok()?).file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_is_known_by_its_program() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = std::env::args().next().unwrap();
        assert_eq!(program(&ours).as_deref(), Path::new(&own).file_name().unwrap().to_str());
    }
}
