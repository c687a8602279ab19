//! The same without root: user 65534, where these tests are root themselves.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Said, copy_program, directory, eventually, field, finish, is_root, rootfs};

/// A program that an unprivileged user runs.
fn as_nobody(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", program]);
    command
}

/// The binary at a place where that user finds it.
struct Place {
    directory: tempfile::TempDir,
    agent: String,
}

impl Place {
    fn new() -> Self {
        let directory = directory();
        let agent = directory.path().join("seccomp-agent");
        copy_program(env!("CARGO_BIN_EXE_seccomp-agent"), &agent);
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Self { agent: agent.to_str().unwrap().to_owned(), directory }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = as_nobody(&self.agent);
        finish(command.arg("run").args(arguments).current_dir(self.directory.path()).stdin(Stdio::null()))
    }
}

#[test]
fn a_command_is_root_without_cap_sys_admin() {
    let place = Place::new();
    let said = place.run(&["--", "cat", "/proc/self/status"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(field(&said, "CapEff"), "00000000a80425fb");
    assert_eq!(field(&said, "Uid").split_whitespace().next(), Some("0"));
    // It is ignored by whoever is started in the background.
    let interrupted = ["env", "--default-signal=INT", "sh", "-c", "kill -INT $$"];
    assert_eq!(place.run(&interrupted).status, Some(130));
}

#[test]
fn a_root_filesystem_works() {
    let (place, root) = (Place::new(), rootfs());
    // The mount points have to be there: the directory is not this user's.
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let script = "id -u; echo x >/dev/null; ls /dev/pts /sys/class >/dev/null && echo there";
    let said = place.run(&["--rootfs", root.path().to_str().unwrap(), "--", "sh", "-c", script]);
    assert_eq!(said.stdout, "0\nthere\n", "{said:?}");
}

#[test]
fn the_demo_works_here_too() {
    let place = Place::new();
    let script = "mkdir abc; ls -d abc*; chmod 700 .; mount -t proc proc /mnt && cat /mnt/self/comm";
    let said = place.run(&["--resolver", "demo-basic", "--", "sh", "-c", script]);
    let mut lines = said.stdout.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("abc-pid-")), "{said:?}");
    assert_eq!(lines.next(), Some("cat"), "{said:?}");
    assert!(said.stderr.contains("Bad message"), "{said:?}");
}

#[test]
fn users_that_the_namespace_lacks_are_refused() {
    let said = Place::new().run(&["--user", "4242", "true"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(said.stderr.contains("4242"), "{said:?}");
}

#[test]
fn a_container_joins_the_user_namespace_of_its_agent() {
    let place = Place::new();
    let socket = place.directory.path().join("agent.socket");
    let socket = socket.to_str().unwrap();
    let mut serve = as_nobody("unshare");
    serve.args(["--user", "--map-root-user", "--mount", &place.agent, "serve", "--resolver", "demo-basic"]);
    let mut served = serve.args(["--socket", socket]).stderr(Stdio::null()).spawn().unwrap();
    assert!(eventually(|| std::os::unix::net::UnixStream::connect(socket).is_ok()));
    let script = "mkdir abc; ls -d abc*; mount -t proc proc /mnt && cat /mnt/self/comm";
    let said = place.run(&["--agent", socket, "--resolver", "demo-basic", "--", "sh", "-c", script]);
    served.kill().unwrap();
    served.wait().unwrap();
    assert!(said.stdout.starts_with("abc-pid-") && said.stdout.ends_with("\ncat\n"), "{said:?}");
}
