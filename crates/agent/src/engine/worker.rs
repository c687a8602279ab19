use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFlags, epoll};
use rustix::io::Errno;
use seccomp_agent_notify::interrupt::Thread;
use seccomp_agent_notify::{ReceiveError, Slot};

use super::Shared;
use super::answer::{Next, answer};
use super::monitor::Pace;
use super::served::Served;
use super::status::Status;
use super::table::Key;

/// What the monitor sees of a worker.
pub(super) struct Worker {
    pub(super) thread: Thread,
    pub(super) status: Status,
    /// The listener that it owns.
    serving: Mutex<Option<Arc<Served>>>,
}

/// How many calls are received from one listener before the others have their turn.
const BATCH: u32 = 32;

/// Why a worker stops receiving from a listener.
enum Stop {
    /// Nothing is pending, others have their turn, or the container has as much in flight as it may.
    Pause,
    /// It is somebody else's now.
    GivenAway,
    /// No task uses the filter any more, or it cannot be received from.
    End(Option<Errno>),
}

impl Worker {
    pub(super) fn of_this_thread() -> Self {
        Self { thread: Thread::current(), status: Status::default(), serving: Mutex::default() }
    }

    pub(super) fn serving(&self) -> Option<Arc<Served>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_serving(&self, served: Option<&Arc<Served>>) {
        let earlier = std::mem::replace(
            &mut *self.serving.lock().unwrap_or_else(PoisonError::into_inner),
            served.map(Arc::clone),
        );
        // Perhaps the last reference, which closes the listener: not under the lock.
        drop(earlier);
    }
}

/// The thread: waits until a listener has something, owns it for a while, and waits again.
pub(super) fn run(shared: &Arc<Shared>, worker: &Worker, mut slot: Slot) {
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
    while !shared.retire() {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        let ready = epoll::wait(&shared.epoll, &mut events, None);
        let another_waits = shared.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        let number = events[0].data.u64();
        if !matches!(ready, Ok(1)) || number == Key::NONE {
            continue;
        }
        let Some(served) = shared.table.find(Key::from_u64(number)) else { continue };
        worker.set_serving(Some(&served));
        let stop = own(shared, worker, &served, &mut slot, events[0].flags, another_waits);
        worker.set_serving(None);
        match stop {
            Stop::Pause => shared.wait_again(&served),
            Stop::GivenAway => {}
            Stop::End(error) => shared.end(&served, error),
        }
    }
}

/// Receives and answers, alone, until there is a reason to stop. `events` is what epoll has just said.
///
/// A busy listener is *adopted*, while another worker waits for all the others: this one blocks in RECV, the
/// shortest way from a call to its answer, and the monitor interrupts it when the listener falls idle. From any
/// other it receives only what is pending, and from one that is not busy only the call that epoll has seen.
fn own(
    shared: &Arc<Shared>,
    worker: &Worker,
    served: &Arc<Served>,
    slot: &mut Slot,
    events: epoll::EventFlags,
    another_waits: bool,
) -> Stop {
    let busy = served.is_busy();
    let batch = if busy { BATCH } else { 1 };
    let mut adopted = busy && another_waits;
    let mut pending = match events {
        events if events.contains(epoll::EventFlags::HUP) => return Stop::End(None),
        events => events.contains(epoll::EventFlags::IN),
    };
    let mut received = 0;
    loop {
        if received == batch {
            if !adopted || shared.waiting.load(Ordering::SeqCst) == 0 || shared.is_stopping() {
                return Stop::Pause;
            }
            received = 0;
        }
        if adopted {
            worker.status.receiving();
            shared.monitor.need(Pace::Slow);
        } else if !std::mem::take(&mut pending) {
            match served.listener.poll() {
                Ok(events) if events.contains(PollFlags::HUP) => return Stop::End(None),
                Ok(events) if events.contains(PollFlags::IN) => {}
                Ok(_) | Err(Errno::INTR) => return Stop::Pause,
                Err(errno) => return Stop::End(Some(errno)),
            }
        }
        slot.set_listener(served.key.as_u64());
        let outcome = served.listener.receive(slot);
        if adopted {
            worker.status.free();
        }
        match outcome {
            Ok(notification) => match answer(shared, worker, served, slot, &notification) {
                Next::Receive => received += 1,
                Next::Pause => return Stop::Pause,
                Next::GivenAway => return Stop::GivenAway,
            },
            // A caller has died, or all have: poll tells which.
            Err(ReceiveError::CallerGone) => adopted = false,
            Err(ReceiveError::Failed(errno)) => return Stop::End(Some(errno)),
            Err(_interrupted) => return Stop::Pause,
        }
    }
}
