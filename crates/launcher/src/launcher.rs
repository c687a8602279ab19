use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::capability::Capabilities;
use crate::channel::Channel;
use crate::container::Container;
use crate::error::LaunchError;
use crate::filter::Filter;
use crate::image;
use crate::init::{INIT_NAME, is_prepared};
use crate::plan::Plan;
use crate::spawn::{Strings, spawn_in_namespaces};
use crate::user::User;

/// How to start a container: a command in mount, pid, ipc and uts namespaces of its own, with a fresh `/proc`.
///
/// Unless told otherwise, the command sees the host's files, runs as user and group 0, has the capabilities of
/// a Docker container and `no_new_privs`, and no filter. It inherits standard input, output and error, the
/// environment, process group and session of the caller, and no other descriptor.
///
/// Needs `CAP_SYS_ADMIN` in the caller's user namespace; [`enter_user_namespace`](crate::enter_user_namespace)
/// gives it to those who lack it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Launcher {
    command: Vec<OsString>,
    rootfs: Option<PathBuf>,
    working_directory: Option<PathBuf>,
    hostname: Option<String>,
    user: User,
    added: Capabilities,
    dropped: Capabilities,
    no_new_privs: bool,
    filter: Option<Filter>,
    bound_to_thread: bool,
}

impl Launcher {
    /// A container that runs `command`, a program and its arguments.
    pub fn new<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            rootfs: None,
            working_directory: None,
            hostname: None,
            user: User::default(),
            added: Capabilities::empty(),
            dropped: Capabilities::empty(),
            no_new_privs: true,
            filter: None,
            bound_to_thread: false,
        }
    }

    /// This directory is the container's root. It gets `/proc`, `/sys` (read-only) and `/dev`.
    pub fn rootfs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.rootfs = Some(directory.into());
        self
    }

    /// The command starts in this directory of the container's, instead of where the caller is, or, with a root
    /// of its own, at `/`.
    pub fn working_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.working_directory = Some(directory.into());
        self
    }

    /// The host's name is this, in the container.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// The command runs as this user. One that is not 0 has those capabilities only that are added.
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// Beyond [`Capabilities::CONTAINER`]. ALL means all that the caller has.
    pub fn add_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.added = self.added.union(capabilities);
        self
    }

    /// Without these, added or not, unless it is ALL that is dropped: then with those that are added.
    pub fn drop_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.dropped = self.dropped.union(capabilities);
        self
    }

    /// Lets set-user-id programs and file capabilities work in the container.
    pub fn allow_new_privileges(mut self) -> Self {
        self.no_new_privs = false;
        self
    }

    /// The command and all that it starts run under this filter, loaded last.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Kills the container when the calling **thread** ends (`PR_SET_PDEATHSIG`), and not only when the
    /// [`Container`] is dropped or this process is gone. That much also holds for a container that stops its own
    /// init, which takes `CAP_SYS_PTRACE`.
    pub fn bind_to_thread(mut self) -> Self {
        self.bound_to_thread = true;
        self
    }

    /// Starts the container. Returns when its filter is loaded and the command is about to be executed: from
    /// then on, notified calls wait for an answer.
    ///
    /// This program is started again, from a sealed copy, to be the container's init: its `main` has to begin
    /// with [`run_if_init`](crate::run_if_init). Any thread of any process may call this.
    pub fn launch(&self) -> Result<Container, LaunchError> {
        if !is_prepared() {
            return Err(LaunchError::NotPrepared);
        }
        let plan = self.plan()?;
        let image = image::of_this_program().map_err(LaunchError::Image)?;
        let channel = |step| move |source| LaunchError::Channel { step, source };
        let (ours, theirs) = Channel::pair().map_err(channel("making a pair of sockets"))?;

        let number = std::os::fd::AsRawFd::as_raw_fd(&theirs.as_fd()).to_string();
        let arguments = [INIT_NAME.into(), number.into()].into_iter().chain(self.command.iter().cloned());
        let arguments = arguments.map(c_string).collect::<Result<Vec<_>, _>>()?;
        let environment = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        });
        let environment = environment.collect::<Result<Vec<_>, _>>()?;

        let signals = SignalsBlocked::all();
        let child = spawn_in_namespaces(
            image,
            &Strings::new(&arguments),
            &Strings::new(&environment),
            theirs.as_fd(),
        );
        drop(signals);
        drop(theirs);
        let child = child.map_err(LaunchError::Clone)?;
        ours.send(&plan, &[]).map_err(channel("telling init what to do"))?;
        Container::started(child, ours)
    }

    fn plan(&self) -> Result<Plan, LaunchError> {
        if self.command.is_empty() {
            return Err(LaunchError::NoCommand);
        }
        if let Some(name) = &self.hostname
            && !(1..=MAX_HOSTNAME).contains(&name.len())
        {
            return Err(LaunchError::Hostname { name: name.clone() });
        }
        let rootfs = self.rootfs.as_ref().map(|path| {
            path.canonicalize().map_err(|source| LaunchError::Rootfs { path: path.clone(), source })
        });
        let capabilities = self.capabilities();
        let is_root = self.user.uid == 0;
        Ok(Plan {
            rootfs: rootfs.transpose()?,
            working_directory: self.working_directory.clone(),
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            capabilities,
            ambient: if is_root { Capabilities::empty() } else { self.added.intersection(capabilities) },
            no_new_privs: self.no_new_privs,
            filter: self.filter.as_ref().map(|filter| filter.wire.clone()),
            bound_to_thread: self.bound_to_thread,
        })
    }

    fn capabilities(&self) -> Capabilities {
        let available = || {
            let sets = rustix::thread::capabilities(None);
            sets.map_or(Capabilities::empty(), |sets| Capabilities::from_bits(sets.permitted.bits()))
        };
        let drops_all = self.dropped == Capabilities::all();
        let added = if self.added == Capabilities::all() { available() } else { self.added };
        let base = if drops_all { Capabilities::empty() } else { Capabilities::CONTAINER };
        let all = base.union(added);
        if drops_all { all } else { all.without(self.dropped) }
    }
}

/// `__NEW_UTS_LEN`.
const MAX_HOSTNAME: usize = 64;

fn c_string(word: OsString) -> Result<CString, LaunchError> {
    CString::new(word.into_vec())
        .map_err(|error| LaunchError::ZeroByte { word: OsString::from_vec(error.into_vec()) })
}

/// Blocks all signals of this thread; dropping it restores what was.
struct SignalsBlocked(Option<SigSet>);

impl SignalsBlocked {
    fn all() -> Self {
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok())
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The set came from the kernel, so it takes it back.
            let _restored = before.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> Capabilities {
        names.split_whitespace().fold(Capabilities::empty(), |all, name| all.union(name.parse().unwrap()))
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_with_docker() {
        let launcher = || Launcher::new(["true"]);
        assert_eq!(launcher().capabilities(), Capabilities::CONTAINER);
        let more = launcher().add_capabilities(set("net_admin")).drop_capabilities(set("kill"));
        assert_eq!(more.capabilities(), Capabilities::CONTAINER.union(set("net_admin")).without(set("kill")));
        let one = launcher().drop_capabilities(set("all")).add_capabilities(set("chown"));
        assert_eq!(one.capabilities(), set("chown"));
        assert_eq!(launcher().drop_capabilities(set("all")).capabilities(), Capabilities::empty());
    }

    #[test]
    fn a_program_that_is_not_prepared_is_told_so() {
        assert!(matches!(Launcher::new(["true"]).launch(), Err(LaunchError::NotPrepared)));
    }

    #[test]
    fn only_what_is_added_reaches_a_user_other_than_root() {
        let launcher = Launcher::new(["true"]).user("7".parse().unwrap()).add_capabilities(set("net_raw"));
        assert_eq!(launcher.plan().unwrap().ambient, set("net_raw"));
        assert_eq!(Launcher::new(["true"]).plan().unwrap().ambient, Capabilities::empty());
    }
}
