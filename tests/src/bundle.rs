use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{Bed, binaries};

/// What a container may do unless the administrator says otherwise: the engines' default, without
/// `CAP_SYS_ADMIN`.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A container to be: a directory with `config.json` and a root filesystem that holds busybox and, as
/// `/bin/probe`, the probe. Runs as root, with the engines' default capabilities and `no_new_privs`.
#[derive(Debug)]
pub struct Bundle {
    directory: PathBuf,
    config: Value,
}

impl Bundle {
    /// A bundle that does nothing yet.
    pub fn new(bed: &Bed) -> anyhow::Result<Self> {
        let directory = bed.subdirectory("bundle.")?;
        fill(&directory.join("rootfs")).context("cannot make a root filesystem")?;
        Ok(Self { directory, config: config() })
    }

    /// The command of the container's init.
    #[must_use]
    pub fn command(mut self, command: &[&str]) -> Self {
        self.config["process"]["args"] = json!(command);
        self
    }

    /// The container's seccomp profile; without one, there is none.
    #[must_use]
    pub fn seccomp(mut self, profile: Value) -> Self {
        self.config["linux"]["seccomp"] = profile;
        self
    }

    /// The path of the container's cgroup, below that of each controller.
    #[must_use]
    pub fn cgroup(mut self, path: &str) -> Self {
        self.config["linux"]["cgroupsPath"] = path.into();
        self
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config["annotations"][key] = value.into();
        self
    }

    /// Takes capabilities away from the container.
    #[must_use]
    pub fn without_capabilities(mut self, taken: &[&str]) -> Self {
        for set in ["bounding", "effective", "permitted"] {
            if let Some(set) = self.config["process"]["capabilities"][set].as_array_mut() {
                set.retain(|capability| !taken.iter().any(|taken| capability == taken));
            }
        }
        self
    }

    /// Gives the container capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, given: &[&str]) -> Self {
        for set in ["bounding", "effective", "permitted"] {
            if let Some(set) = self.config["process"]["capabilities"][set].as_array_mut() {
                set.extend(given.iter().map(|capability| json!(capability)));
            }
        }
        self
    }

    /// Mounts a sysfs, read-only.
    #[must_use]
    pub fn with_sysfs(mut self) -> Self {
        let options = ["nosuid", "noexec", "nodev", "ro"];
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts
                .push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options}));
        }
        self
    }

    /// Lets the container gain privileges by executing a set-user-id file.
    #[must_use]
    pub fn new_privileges(mut self) -> Self {
        self.config["process"]["noNewPrivileges"] = false.into();
        self
    }

    /// Takes capabilities from the container.
    #[must_use]
    pub fn without(mut self, capabilities: &[&str]) -> Self {
        let left: Vec<_> = CAPABILITIES.iter().filter(|name| !capabilities.contains(name)).collect();
        for set in ["bounding", "effective", "permitted"] {
            self.config["process"]["capabilities"][set] = json!(left);
        }
        self
    }

    /// Gives the container a user namespace of its own, in which `first` of the host's users and groups is 0, and
    /// everything in its root filesystem to that one.
    pub fn user_namespace(mut self, first: u32) -> anyhow::Result<Self> {
        let map = json!([{"containerID": 0, "hostID": first, "size": 65_536}]);
        self.config["linux"]["uidMappings"] = map.clone();
        self.config["linux"]["gidMappings"] = map;
        if let Some(namespaces) = self.config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({"type": "user"}));
        }
        give(&self.rootfs(), first).context("cannot give the root filesystem away")?;
        // The namespace's root comes to it by way of the bed.
        for directory in self.rootfs().ancestors().skip(1).take(2) {
            std::fs::set_permissions(directory, Permissions::from_mode(0o711))?;
        }
        Ok(self)
    }

    /// Leaves the container in the host's pid namespace.
    #[must_use]
    pub fn with_the_hosts_processes(mut self) -> Self {
        if let Some(namespaces) = self.config["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != "pid");
        }
        self
    }

    /// Binds the host's `source` to `target`.
    #[must_use]
    pub fn bind(mut self, source: &Path, target: &str) -> Self {
        let mount =
            json!({"destination": target, "type": "bind", "source": source, "options": ["bind", "rw"]});
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(mount);
        }
        self
    }

    /// Gives the container a character device that it may read and write.
    #[must_use]
    pub fn with_device(mut self, path: &str, major: u32, minor: u32) -> Self {
        self.config["linux"]["devices"] =
            json!([{"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666}]);
        self.config["linux"]["resources"]["devices"] =
            json!([{"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"}]);
        self
    }

    /// Shows a folder of programs and their libraries as `/usr`.
    pub fn with_usr(self, usr: &Path) -> anyhow::Result<Self> {
        for folder in ["lib", "lib64"] {
            symlink(format!("usr/{folder}"), self.rootfs().join(folder))?;
        }
        Ok(self.bind(usr, "/usr"))
    }

    /// Covers entries of the container's procfs: a directory, a file, and one that is read-only.
    #[must_use]
    pub fn covering_proc(mut self) -> Self {
        self.config["linux"]["maskedPaths"] = json!(["/proc/bus", "/proc/interrupts"]);
        self.config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        self
    }

    /// The container's root filesystem.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// The pid of the init of the container that [`Runc::run`](crate::Runc::run) ran last, as runc names it.
    pub fn init_pid(&self) -> anyhow::Result<u32> {
        let path = self.pid_file();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no pid", path.display()))
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }

    /// Writes `config.json`, and returns the bundle's directory.
    pub fn write(&self) -> anyhow::Result<&Path> {
        let path = self.directory.join("config.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&self.config)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(&self.directory)
    }
}

fn give(path: &Path, owner: u32) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::read_dir(path)?.try_for_each(|entry| give(&entry?.path(), owner))?;
    }
    lchown(path, Some(owner), Some(owner))
}

fn fill(rootfs: &Path) -> anyhow::Result<()> {
    for directory in ["bin", "dev", "proc", "root", "sys", "tmp"] {
        std::fs::create_dir_all(rootfs.join(directory))?;
    }
    let busybox = binaries::busybox()?;
    binaries::copy(&busybox, &rootfs.join("bin/busybox"))?;
    binaries::copy(&binaries::probe()?, &rootfs.join("bin/probe"))?;
    let applets = Command::new(&busybox).arg("--list").output().context("busybox does not run")?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines() {
        let link = rootfs.join("bin").join(applet);
        // busybox lists itself.
        if !link.exists() {
            symlink("busybox", link)?;
        }
    }
    Ok(())
}

fn config() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "container",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "annotations": {},
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
            ],
        },
    })
}
