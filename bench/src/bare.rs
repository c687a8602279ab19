//! The floor of acting: what has to be asked of the kernel to do one call as somebody else, in the fewest system calls,
//! for one caller that stays what it is: alone, without a table, a check or a way to fail.

use std::ffi::CStr;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, setfsgid, setfsuid};
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, chmodat, mkdirat, mknodat, open, openat};
use rustix::process::{chroot, fchdir, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccomp_agent_notify::{Listener, Notification, ReceiveError, Response, SlotTable};

use crate::deed::Deed;

const PATH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Does every call of one listener, until its tasks have ended.
pub fn act(listener: &Listener, deed: Deed) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_FS)?;
    let mut slot = SlotTable::new(1)?.take().context("no slot")?;
    let mut actor: Option<Actor> = None;
    loop {
        match listener.receive(&mut slot) {
            Ok(notification) => {
                let actor = match &actor {
                    Some(actor) => actor,
                    None => actor.insert(Actor::of(notification.tid)?),
                };
                let done = actor.act(listener, &notification, deed)?;
                let response = done.map_or_else(Response::Errno, |()| Response::Return(0));
                let _gone = listener.respond(notification.id, response);
            }
            Err(ReceiveError::CallerGone) if listener.poll()?.contains(PollFlags::HUP) => return Ok(()),
            Err(ReceiveError::CallerGone | ReceiveError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Who acts, and for whom.
struct Actor {
    proc: OwnedFd,
    status: File,
    home: OwnedFd,
    capabilities: CapabilitySets,
}

impl Actor {
    fn of(tid: u32) -> anyhow::Result<Self> {
        let proc = open(format!("/proc/{tid}"), PATH, Mode::empty())?;
        let status = openat(&proc, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let home = open("/", PATH, Mode::empty())?;
        Ok(Self { proc, status: status.into(), home, capabilities: capabilities(None)? })
    }

    fn act(
        &self,
        listener: &Listener,
        notification: &Notification,
        deed: Deed,
    ) -> anyhow::Result<rustix::io::Result<()>> {
        // Umask, groups and capabilities are nowhere else. Whose they are is known here: the user of `Deed`.
        let mut status = [0; 4096];
        self.status.read_at(&mut status, 0)?;
        let root = openat(&self.proc, "root", PATH, Mode::empty())?;
        let cwd = openat(&self.proc, "cwd", PATH, Mode::empty())?;
        let mut path = [0; 64];
        let remote = RemoteIoVec { base: usize::try_from(notification.args[1])?, len: path.len() };
        let tid = Pid::from_raw(notification.tid.cast_signed());
        process_vm_readv(tid, &mut [IoSliceMut::new(&mut path)], &[remote])?;
        let path = CStr::from_bytes_until_nul(&path)?;
        anyhow::ensure!(listener.is_valid(notification.id), "the caller is gone");

        fchdir(&root)?;
        chroot(".")?;
        fchdir(&cwd)?;
        let before = umask(Mode::WGRP | Mode::WOTH);
        setfsgid(crate::deed::USER.into());
        setfsuid(crate::deed::USER.into());
        let mut sets = self.capabilities;
        sets.effective = if deed == Deed::Mknod { CapabilitySet::MKNOD } else { CapabilitySet::empty() };
        set_capabilities(None, sets)?;
        let done = match deed {
            Deed::Mkdir => mkdirat(CWD, path, Mode::RWXU),
            Deed::Mknod => mknodat(CWD, path, FileType::CharacterDevice, Mode::RWXU, crate::deed::null()),
            _ => chmodat(CWD, path, Mode::RWXU, AtFlags::empty()),
        };
        set_capabilities(None, self.capabilities)?;
        setfsuid(0.into());
        setfsgid(0.into());
        umask(before);
        fchdir(&self.home)?;
        chroot(".")?;
        Ok(done)
    }
}
