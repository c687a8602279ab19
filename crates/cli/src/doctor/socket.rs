use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Finding;

const CHECK: &str = "socket";
/// Write permission of group and others: who has it may connect.
const OTHERS_MAY_CONNECT: u32 = 0o022;

/// Whether runtimes reach an agent at `path`. The connection that this takes costs the agent nothing.
pub(super) fn findings(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let start = "start the agent (systemctl start seccomp-agent, kubectl -n seccomp-agent get pods), or name its socket by \
        --socket";
    let data = match std::fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Finding::wrong(CHECK, format!("{shown} is not there: no agent runs"), start)];
        }
        Err(error) => return vec![Finding::wrong(CHECK, format!("{shown}: {error}"), "run this as root")],
    };
    if !data.file_type().is_socket() {
        return vec![Finding::wrong(
            CHECK,
            format!("{shown} is no socket"),
            "remove it, and start the agent",
        )];
    }
    let mut findings = vec![match UnixStream::connect(path) {
        Ok(_) => Finding::ok(CHECK, format!("{shown} is answered")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Finding::wrong(CHECK, format!("{shown} is left over: its agent has ended"), start)
        }
        Err(error) => Finding::wrong(CHECK, format!("{shown}: {error}"), "run this as root"),
    }];
    if data.mode() & OTHERS_MAY_CONNECT != 0 {
        findings.push(Finding::note(
            CHECK,
            format!(
                "{shown} has the mode {:o}: others than its owner may connect, and are refused then",
                data.mode() & 0o777
            ),
            format!("chmod 600 {shown}"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_agent_that_answers_one_that_has_ended_and_none_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let states = || findings(&path).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert!(findings(&path)[0].found.contains("not there"));
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(states(), [State::Ok]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(states(), [State::Ok, State::Note]);
        drop(listener);
        assert!(findings(&path)[0].found.contains("left over"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(findings(&path)[0].found.contains("is no socket"));
    }
}
