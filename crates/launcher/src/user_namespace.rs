//! Being root without root: in a user namespace.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::fstat;
use rustix::process::{getegid, geteuid, getpid};
use rustix::thread::{CapabilitySet, Gid, Uid, capabilities, set_thread_res_gid, set_thread_res_uid};

/// Why there is no user namespace to be root in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserNamespaceError {
    /// It could not be made.
    #[error(
        "making a user namespace, which takes the place of root, failed: {0} (see user.max_user_namespaces and \
         kernel.unprivileged_userns_clone; it takes a process of one thread)"
    )]
    Create(#[source] nix::Error),
    /// A file that maps its ids could not be written.
    #[error("writing {path} of the user namespace failed: {source}")]
    Map {
        /// Which.
        path: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The programs that map the ids of `/etc/subuid` and `/etc/subgid` said no.
    #[error("newuidmap and newgidmap failed: {0}")]
    MapByProgram(String),
    /// That of another process could not be joined.
    #[error("joining the user namespace of process {pid} failed: {source}")]
    Join {
        /// The process.
        pid: u32,
        /// What went wrong.
        source: nix::Error,
    },
    /// Its root could not be assumed.
    #[error("becoming user 0 of the user namespace failed: {0}")]
    BecomeRoot(#[source] rustix::io::Errno),
}

/// Whether this thread has `CAP_SYS_ADMIN` in its user namespace, as launching containers takes.
pub fn is_privileged() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Moves this process, which must have one thread, into a new user namespace in which it is root, and into a mount
/// namespace of that. Containers
/// that it launches share the namespace without having `CAP_SYS_ADMIN` in it, so that an agent in this process
/// is to them what a privileged agent is to the containers of a machine.
///
/// The caller's user is user 0 there. Other users exist if `newuidmap(1)` and `newgidmap(1)` are installed and
/// give the caller some (`subuid(5)`).
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // Started outside the namespace, since that is where it may map.
    let mapper = Mapper::start(uid, gid);
    // An agent that acts in a container's mount namespace has to come back to its own, which takes one that belongs
    // to this user namespace.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(UserNamespaceError::Create)?;
    match mapper {
        Some(mapper) => mapper.map()?,
        None => map_own_ids(uid, gid)?,
    }
    become_root()
}

/// Joins the user namespace of the process `pid` and becomes root in it, if it is another than this process's and
/// one that this process may look at; else false. This process must have
/// one thread, and its user have made that namespace.
///
/// So a container can be launched for an agent that is root in a user namespace: it acts for containers of its
/// own namespace only.
pub fn join_user_namespace(pid: u32) -> Result<bool, UserNamespaceError> {
    let open = |process: &str| fs::File::open(format!("/proc/{process}/ns/user"));
    let (Ok(theirs), Ok(ours)) = (open(&pid.to_string()), open("self")) else { return Ok(false) };
    let is_same = fstat(&theirs).ok().map(|stat| (stat.st_dev, stat.st_ino))
        == fstat(&ours).ok().map(|stat| (stat.st_dev, stat.st_ino));
    if is_same {
        return Ok(false);
    }
    setns(theirs, CloneFlags::CLONE_NEWUSER).map_err(|source| UserNamespaceError::Join { pid, source })?;
    become_root()?;
    Ok(true)
}

fn become_root() -> Result<(), UserNamespaceError> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(UserNamespaceError::BecomeRoot)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(UserNamespaceError::BecomeRoot)
}

/// The one mapping that needs no privilege.
fn map_own_ids(uid: u32, gid: u32) -> Result<(), UserNamespaceError> {
    let write = |path: &'static str, text: &str| {
        fs::write(path, text).map_err(|source| UserNamespaceError::Map { path, source })
    };
    // Else a group that denies something could be dropped (user_namespaces(7)).
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))
}

/// A process outside the namespace that waits to map its ids.
struct Mapper(Child);

impl Mapper {
    /// `None` where the caller has no ids but its own, or the programs are missing.
    fn start(uid: u32, gid: u32) -> Option<Self> {
        let (uids, gids) = (subordinate("/etc/subuid", uid)?, subordinate("/etc/subgid", uid)?);
        let script = "read -r _ && newuidmap \"$1\" 0 \"$2\" 1 1 \"$3\" \"$4\" && \
                      newgidmap \"$1\" 0 \"$5\" 1 1 \"$6\" \"$7\"";
        let installed = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|directory| directory.join(name).exists())
        };
        if !installed("newuidmap") || !installed("newgidmap") {
            return None;
        }
        let words = [getpid().as_raw_nonzero().get().to_string(), uid.to_string(), uids.0, uids.1];
        let child = Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .args(words)
            .args([gid.to_string(), gids.0, gids.1])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        child.ok().map(Self)
    }

    fn map(mut self) -> Result<(), UserNamespaceError> {
        let failed = |error: io::Error| UserNamespaceError::MapByProgram(error.to_string());
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"go\n").map_err(failed)?;
        }
        let ended = self.0.wait_with_output().map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(UserNamespaceError::MapByProgram(String::from_utf8_lossy(&ended.stderr).trim().to_owned()))
    }
}

/// The first range of ids that the file gives the user, by number or by name: its start and its length.
fn subordinate(file: impl AsRef<Path>, uid: u32) -> Option<(String, String)> {
    let name = user_name(uid);
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let is_ours = owner == uid.to_string() || Some(owner) == name.as_deref();
        is_ours.then(|| Some((fields.next()?.to_owned(), fields.next()?.to_owned())))?
    })
}

fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (*fields.get(2)? == uid.to_string()).then(|| fields[0].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_user_are_found_by_number_and_by_name() {
        let file = std::env::temp_dir().join(format!("subuid-{}", std::process::id()));
        fs::write(&file, "other:1:2\n4242:100000:65536\nroot:200000:10\n").unwrap();
        let range = |start: &str, length: &str| Some((start.to_owned(), length.to_owned()));
        assert_eq!(subordinate(&file, 4242), range("100000", "65536"));
        assert_eq!(subordinate(&file, 0), range("200000", "10"));
        assert_eq!(subordinate(&file, 777_777), None);
        fs::remove_file(&file).unwrap();
    }
}
