//! The floor: the least that anybody who answers notifications has to do, without threads, tables or checks.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::{PollFlags, epoll};
use seccomp_agent_notify::{Listener, ReceiveError, Response, Slot, SlotTable};

/// Continues every call of one listener, blocking in RECV, until its tasks have ended.
pub fn answer(listener: &Listener) -> anyhow::Result<()> {
    let mut slot = one_slot()?;
    loop {
        match listener.receive(&mut slot) {
            Ok(notification) => drop(listener.respond(notification.id, Response::Continue)),
            Err(ReceiveError::CallerGone) if listener.poll()?.contains(PollFlags::HUP) => return Ok(()),
            Err(ReceiveError::CallerGone | ReceiveError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Accepts listeners on `socket` and continues all their calls, in one thread on one epoll instance.
pub fn serve(socket: &Path) -> anyhow::Result<()> {
    const ACCEPT: u64 = u64::MAX;
    seccomp_agent_agent::raise_descriptor_limit();
    let door = UnixListener::bind(socket)?;
    rustix::net::listen(&door, 4096)?;
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&ready, &door, epoll::EventData::new_u64(ACCEPT), epoll::EventFlags::IN)?;
    let mut listeners = HashMap::new();
    let mut count = 0;
    let mut slot = one_slot()?;
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
    loop {
        let events = match epoll::wait(&ready, &mut events, None) {
            Ok(count) => &events[..count],
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for event in events {
            let (flags, number) = (event.flags, event.data.u64());
            if number == ACCEPT {
                let (stream, _) = door.accept()?;
                let Ok(listener) = crate::passing::receive(&stream) else { continue };
                let _since_6_6 = listener.set_sync_wake_up();
                epoll::add(
                    &ready,
                    listener.as_fd(),
                    epoll::EventData::new_u64(count),
                    epoll::EventFlags::IN,
                )?;
                listeners.insert(count, listener);
                count += 1;
            } else if flags.contains(epoll::EventFlags::HUP) {
                if let Some(listener) = listeners.remove(&number) {
                    epoll::delete(&ready, &listener)?;
                }
            } else if let Some(listener) = listeners.get(&number)
                && let Ok(notification) = listener.receive(&mut slot)
            {
                let _gone = listener.respond(notification.id, Response::Continue);
            }
        }
    }
}

fn one_slot() -> anyhow::Result<Slot> {
    SlotTable::new(1)?.take().ok_or_else(|| anyhow::anyhow!("no slot"))
}
