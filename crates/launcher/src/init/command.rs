use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::sys::signal::SigSet;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccomp_agent_notify::filter;

use super::failure::{Failure, step};
use super::watch::execute_failure;
use crate::capability::Capabilities;
use crate::plan::Plan;
use crate::shared::{Loaded, Shared};
use crate::spawn::{self, Strings};
use crate::user::User;

/// Where commands are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A bit more than capabilities have; the kernel says where they end.
const MAX_CAPABILITY: u32 = 63;

/// Becomes the command; returns only why it could not. Between the filter and the command there is one system
/// call, `execve`: whatever is notified, the launcher gets the listener, since init shares the descriptors of
/// this process and sees in `shared` that the listener is there.
pub(super) fn become_command(plan: &Plan, words: &[OsString], shared: &Shared) -> Failure {
    match execute(plan, words, shared) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

fn execute(plan: &Plan, words: &[OsString], shared: &Shared) -> Result<Infallible, Failure> {
    SigSet::empty().thread_set_mask().map_err(|errno| Failure::new("unblocking signals", &errno))?;
    spawn::default_sigpipe();
    drop_privileges(plan)?;
    if let Some(directory) = &plan.working_directory {
        rustix::process::chdir(directory).map_err(step(format_args!("chdir to {}", directory.display())))?;
    }

    let name = words.first().map(OsString::as_os_str).unwrap_or_default();
    let path = find(name).map_err(|errno| execute_failure(name, errno))?;
    let c_string =
        |word: OsString| CString::new(word.into_vec()).map_err(|_| execute_failure(name, Errno::INVAL));
    let path = c_string(path)?;
    let arguments = words.iter().cloned().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os().map(|(name, value)| c_string([name, value].join(OsStr::new("="))));
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    let (arguments, environment) = (Strings::new(&arguments), Strings::new(&environment));

    let instructions = plan.filter.as_ref().map(|filter| (filter.instructions(), filter.flags()));
    if plan.no_new_privs {
        filter::set_no_new_privs().map_err(step("PR_SET_NO_NEW_PRIVS"))?;
    }
    let loading = step("loading the seccomp filter");
    let loaded = match (&plan.filter, &instructions) {
        (Some(filter), Some((program, flags))) if filter.has_listener => {
            let listener = filter::install_with_privileges(program, *flags).map_err(loading)?;
            Loaded::Listener(listener.into_raw_fd())
        }
        (Some(_), Some((program, flags))) => {
            filter::load_with_privileges(program, *flags).map_err(loading)?;
            Loaded::Alone
        }
        _ => Loaded::Alone,
    };
    shared.set_loaded(&loaded);
    shared.set_execute_failed(spawn::execve(&path, &arguments, &environment));
    spawn::exit_at_once()
}

/// Becomes the plan's user with the plan's capabilities. Without `no_new_privs`, `CAP_SYS_ADMIN` stays until the
/// command executes, for the filter; it is in none of the sets that survive that.
fn drop_privileges(plan: &Plan) -> Result<(), Failure> {
    let permitted =
        Capabilities::from_bits(capabilities(None).map_err(step("reading capabilities"))?.permitted.bits());
    let missing = plan.capabilities.without(permitted);
    if missing != Capabilities::empty() {
        return Err(Failure::new(
            "giving capabilities",
            &format_args!("the launcher lacks {missing} itself"),
        ));
    }
    for capability in (0..=MAX_CAPABILITY).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) if plan.capabilities.bits() & capability.bits() == 0 => {
                remove_capability_from_bounding_set(capability).map_err(step("PR_CAPBSET_DROP"))?;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    set_keep_capabilities(true).map_err(step("PR_SET_KEEPCAPS"))?;
    set_user(&plan.user)?;

    let own = if plan.user.uid == 0 { plan.capabilities } else { plan.ambient };
    let until_exec =
        if plan.no_new_privs { own } else { own.union(Capabilities::SYS_ADMIN.intersection(permitted)) };
    let set = |capabilities: Capabilities| CapabilitySet::from_bits_retain(capabilities.bits());
    let sets = CapabilitySets {
        effective: set(until_exec),
        permitted: set(until_exec),
        inheritable: set(plan.ambient),
    };
    set_capabilities(None, sets).map_err(step("capset"))?;
    for number in (0..=MAX_CAPABILITY).filter(|number| plan.ambient.bits() & (1 << number) != 0) {
        configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
            .map_err(step("PR_CAP_AMBIENT_RAISE"))?;
    }
    Ok(())
}

fn set_user(user: &User) -> Result<(), Failure> {
    let groups: Vec<_> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    // In a user namespace that was made without privileges, groups can be neither set nor dropped.
    let may_set = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "allow");
    if may_set || !groups.is_empty() {
        set_thread_groups(&groups).map_err(step(format_args!("setgroups {:?}", user.groups)))?;
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let unmapped = |what: &str, id: u32, errno| match errno {
        Errno::INVAL => Failure::new(format_args!("{what} {id}"), &"the user namespace has no such id"),
        errno => Failure::new(format_args!("{what} {id}"), &errno),
    };
    set_thread_res_gid(gid, gid, gid).map_err(|errno| unmapped("setresgid", user.gid, errno))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| unmapped("setresuid", user.uid, errno))
}

/// The file that `name` stands for, as `execvp(3)` finds it.
fn find(name: &OsStr) -> Result<OsString, Errno> {
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.as_bytes().contains(&b'/') {
        access(name, Access::EXISTS)?;
        return Ok(name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut failure = Errno::NOENT;
    for directory in std::env::split_paths(&path) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        let candidate = directory.join(name);
        match access(&candidate, Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate.into_os_string()),
            Ok(()) | Err(Errno::ACCESS) => failure = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(failure)
}
