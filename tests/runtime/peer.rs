//! Who may hand over containers.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use seccomp_agent_tests::{Bed, Daemon, binaries, run_for};

const NOBODY: u32 = 65534;

#[test]
fn a_peer_that_is_not_root_is_refused_even_where_the_sockets_mode_lets_it_in() {
    let bed = Bed::new().unwrap();
    let daemon = Daemon::serve(&bed, &["--resolver", "demo-basic"]).unwrap();
    set_permissions(bed.path(), Permissions::from_mode(0o755)).unwrap();
    set_permissions(daemon.socket(), Permissions::from_mode(0o666)).unwrap();
    // Its own directory may be closed to others.
    let probe = bed.path().join("probe");
    binaries::copy(&binaries::probe().unwrap(), &probe).unwrap();

    let mut peer = Command::new(&probe);
    peer.args(["hand-over", "--id", "nobody", "--syscall", "fchmodat2", "--socket"]).arg(daemon.socket());
    peer.arg(&probe).args(["chmod", "--by", "fchmodat2", "/"]).uid(NOBODY).gid(NOBODY);
    let ended = run_for(Duration::from_secs(10), &mut peer).unwrap();
    // Cut off before it could say a word, or left with a filter that nobody answers.
    assert!(!ended.said().contains("Bad message"), "{ended}\n{}", daemon.log());
    assert!(daemon.logs(&["kind=\"peer\"", "65534"]), "{}", daemon.log());
}
