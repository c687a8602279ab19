//! Mounts, unmounts and makes mounts step by step as it is told, and says what came of each call.

use std::ffi::{CString, c_char, c_int, c_ulong};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::null;

use anyhow::{Context, bail};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::statmount;

/// Carries out each line of `steps`:
///
/// - `mount SOURCE TARGET TYPE FLAGS OPTIONS`, where `-` is NULL and FLAGS a number: `mount(2)`
/// - `umount TARGET FLAGS`: `umount2(2)`
/// - `new TYPE TARGET ATTRIBUTES [KEY | KEY=VALUE]...`: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `move_mount(2)`
/// - `table`: the mounts below the working directory, without the numbers that are never the same
/// - `stat PATH`: what `statmount(2)` says of the mount that this is in, and whether `listmount(2)` has it
pub(crate) fn carry_out(steps: &str) -> anyhow::Result<()> {
    for step in steps.lines().map(str::trim).filter(|step| !step.is_empty()) {
        let words: Vec<_> = step.split(' ').collect();
        let said = match words[..] {
            ["mount", source, target, kind, flags, options] => {
                said(mount(source, target, kind, flags.parse()?, options))
            }
            ["umount", target, flags] => said(umount(target, flags.parse()?)),
            ["new", kind, target, attributes, ref options @ ..] => {
                new(kind, target, MountAttrFlags::from_bits_retain(attributes.parse()?), options)
            }
            ["table"] => table()?,
            ["stat", path] => statmount::describe(path)?,
            _ => bail!("no step: {step}"),
        };
        println!("{step} -> {said}");
    }
    Ok(())
}

fn said(outcome: Result<(), Errno>) -> String {
    outcome.map_or_else(|errno| errno.to_string(), |()| "ok".to_owned())
}

fn text(word: &str) -> Option<CString> {
    CString::new(word).ok().filter(|_| word != "-")
}

fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(null(), |text| text.as_ptr())
}

fn mount(source: &str, target: &str, kind: &str, flags: c_ulong, options: &str) -> Result<(), Errno> {
    let [source, target, kind, options] = [source, target, kind, options].map(text);
    let [source, target, kind, options] =
        [&source, &target, &kind, &options].map(|word| pointer(word.as_ref()));
    // SAFETY: each pointer is null or to a string that lives until the end of this function.
    let outcome = unsafe { libc::mount(source, target, kind, flags, options.cast()) };
    outcome_of(outcome)
}

fn umount(target: &str, flags: c_int) -> Result<(), Errno> {
    let target = text(target);
    // SAFETY: the pointer is null or to a string that lives until the end of this function.
    let outcome = unsafe { libc::umount2(pointer(target.as_ref()), flags) };
    outcome_of(outcome)
}

fn outcome_of(outcome: c_int) -> Result<(), Errno> {
    if outcome == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Which step failed, and how.
fn new(kind: &str, target: &str, attributes: MountAttrFlags, options: &[&str]) -> String {
    let made = detached(kind, attributes, options).and_then(|mount| {
        let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&mount, "", CWD, target, by_descriptor).map_err(|errno| ("move_mount", errno))
    });
    made.map_or_else(|(step, errno)| format!("{step}: {errno}"), |()| "ok".to_owned())
}

fn detached(
    kind: &str,
    attributes: MountAttrFlags,
    options: &[&str],
) -> Result<OwnedFd, (&'static str, Errno)> {
    let at = |step| move |errno| (step, errno);
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("fsopen"))?;
    for option in options {
        let set = match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value),
            None => fsconfig_set_flag(context.as_fd(), *option),
        };
        set.map_err(at("fsconfig"))?;
    }
    fsconfig_create(context.as_fd()).map_err(at("create"))?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(at("fsmount"))
}

/// Of each mount below the working directory: where it is, its root, its options, its propagation, and the type,
/// the source and the options of its file system; those of an overlay name its layers by paths that may differ.
fn table() -> anyhow::Result<String> {
    let here = std::env::current_dir()?;
    let here = format!("{}/", here.to_str().context("the working directory is no text")?);
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("no mount table")?;
    let show = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount: Vec<_> = mount.split(' ').collect();
        let file_system: Vec<_> = file_system.split(' ').collect();
        let at = mount[4].strip_prefix(&here)?;
        let propagation: Vec<_> = mount[6..].iter().filter_map(|tag| tag.split(':').next()).collect();
        let options = if file_system[0] == "overlay" { "" } else { file_system[2] };
        let (kind, source) = (file_system[0], file_system[1]);
        Some(format!("\n  {at} {} {} {propagation:?} {kind} {source} {options}", mount[3], mount[5]))
    };
    Ok(table.lines().filter_map(show).collect())
}
