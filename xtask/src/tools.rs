//! What a machine needs for running containers, and how it gets it.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure};
use seccomp_agent_tests::binaries;

use crate::command;

/// Something that a tier or the demo needs and that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The container runtime.
    Runc,
    /// Another container runtime.
    Crun,
    /// A container engine over either.
    Podman,
    /// A container engine, with its daemon.
    Docker,
    /// The container engine of Kubernetes, with `ctr`.
    Containerd,
    /// A busybox that needs no library of the host.
    Busybox,
    /// What makes an ext4.
    E2fsprogs,
    /// What mounts an image, with `losetup`.
    Mount,
    /// A file system that a program answers for.
    Bindfs,
    /// A web server.
    Nginx,
    /// A database in memory.
    Redis,
    /// A database in a file.
    Sqlite,
    /// An interpreter, that of the distribution.
    Python,
    /// A compiler, for a program of 32 bits.
    Compiler,
    /// What runc is built with.
    Libseccomp,
    /// What tells how to build with that.
    PkgConfig,
    /// What makes certificates.
    Openssl,
    /// What makes networks, with `ip`.
    Iproute,
    /// What redirects in them.
    Iptables,
    /// What traces system calls, to compare with.
    Strace,
}

/// What the benchmarks start.
pub(crate) const MEASURED: &[Tool] = &[Tool::Nginx, Tool::Compiler, Tool::Strace];

impl Tool {
    /// The Debian package that has it.
    const fn package(self) -> &'static str {
        match self {
            Tool::Runc => "runc",
            Tool::Crun => "crun",
            Tool::Podman => "podman",
            Tool::Docker => "docker.io",
            Tool::Containerd => "containerd",
            Tool::Busybox => "busybox-static",
            Tool::E2fsprogs => "e2fsprogs",
            Tool::Mount => "mount",
            Tool::Bindfs => "bindfs",
            Tool::Nginx => "nginx-light",
            Tool::Redis => "redis-server",
            Tool::Sqlite => "sqlite3",
            Tool::Python => "python3",
            Tool::Compiler => "gcc",
            Tool::Libseccomp => "libseccomp-dev",
            Tool::PkgConfig => "pkg-config",
            Tool::Openssl => "openssl",
            Tool::Iproute => "iproute2",
            Tool::Iptables => "iptables",
            Tool::Strace => "strace",
        }
    }

    fn is_there(self) -> bool {
        let run = |programs: &[&str]| {
            programs.iter().all(|program| command::output(Command::new(program).arg("--version")).is_some())
        };
        match self {
            Tool::Runc => run(&["runc"]),
            Tool::Crun => run(&["crun"]),
            Tool::Podman => run(&["podman", "conmon"]),
            Tool::Docker => run(&["docker", "dockerd"]),
            Tool::Containerd => run(&["containerd", "ctr"]),
            // They are where root alone looks for programs, and one has no option `--version`.
            Tool::E2fsprogs => is_installed("mkfs.ext4"),
            Tool::Mount => is_installed("mount") && is_installed("losetup"),
            // Run by their paths, whatever else of the name there is.
            Tool::Bindfs => is_installed("bindfs") && is_installed("fusermount3"),
            Tool::Nginx => is_installed("nginx"),
            Tool::Redis => is_installed("redis-server"),
            Tool::Sqlite => is_installed("sqlite3"),
            Tool::Python => {
                // A part of its library is in another package.
                let mut python = Command::new("/usr/bin/python3");
                command::output(python.args(["-I", "-c", "import subprocess, tempfile"])).is_some()
            }
            Tool::Compiler => run(&["cc"]),
            Tool::Strace => run(&["strace"]),
            Tool::Libseccomp => Path::new("/usr/include/seccomp.h").exists(),
            Tool::PkgConfig => run(&["pkg-config"]),
            Tool::Openssl => is_installed("openssl"),
            Tool::Iproute => is_installed("ip"),
            Tool::Iptables => is_installed("iptables"),
            // ldd succeeds for what is linked dynamically.
            Tool::Busybox => {
                binaries::busybox().is_ok_and(|path| command::output(Command::new("ldd").arg(path)).is_none())
            }
        }
    }
}

/// Whether a program is in one of the places where root looks for programs.
fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// Whether this process may run containers.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs those of `tools` that are missing; an error that names them if that cannot be done.
pub(crate) fn install(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.is_there()).map(|tool| tool.package()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    ensure!(is_root(), "missing: {packages}; install them, as root: apt-get install {packages}");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {packages} (as Debian names them); install them, there is no apt-get here to do it");
    }
    eprintln!("installing {packages}");
    let mut update = Command::new("apt-get");
    // Stale package lists are good enough if they can be used.
    let _ = update.args(["--quiet=2", "update"]).status();
    let mut install = Command::new("apt-get");
    // No server is started only because it is there.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    install.args(["--quiet=2", "--yes", "--no-install-recommends", "install"]).args(missing);
    command::run(&mut install)
}
