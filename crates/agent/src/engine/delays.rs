use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use seccomp_agent_notify::{Notification, Slot};
use seccomp_agent_registry::Verdict;

use super::served::Served;
use super::table::Key;
use super::timer;

/// Calls that are answered later. One timer for all: a held call costs its entry here, and no thread.
pub(super) struct Delays {
    timer: OwnedFd,
    queue: Mutex<Queue>,
}

/// A call that waits.
pub(super) struct Held {
    pub(super) served: Arc<Served>,
    pub(super) notification: Notification,
    pub(super) received: Instant,
    /// What is to be said when the time has come.
    pub(super) verdict: Verdict,
    /// Where the call is remembered; `None` when the table was full.
    pub(super) slot: Option<Slot>,
}

/// What became of a call given to [`Delays::hold`].
pub(super) enum Hold {
    /// It waits, and is one more of its listener's.
    Waits,
    /// It waits in the place of an earlier call of its task, which a signal had cut off.
    Replaced,
    /// It is a restarted call that has waited long enough.
    Over(Held),
}

/// What a delay is cut to that no clock can measure.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long an interrupted call may take to come back: a signal handler runs in between.
const RESTART_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Queue {
    due: BTreeMap<Due, Entry>,
    by_caller: BTreeMap<CallerKey, Due>,
    /// Tells entries of the same instant apart.
    count: u64,
}

type Due = (Instant, u64);

/// A task is in one call at a time, so it has one entry. Those without a visible tid are told apart by call.
type CallerKey = (Key, u32, u64);

enum Entry {
    Held(Held),
    /// The call's time had come, but a signal had interrupted it. If it comes again, the kernel has restarted
    /// it, and it has waited long enough. Keeps nothing of the listener open.
    Waited(Key, Notification),
}

impl Delays {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self { timer: timer::create()?, queue: Mutex::default() })
    }

    /// Becomes readable when a call is due.
    pub(super) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Holds a call until `delay` after it was received.
    pub(super) fn hold(&self, held: Held, delay: Duration) -> Hold {
        let mut queue = self.queue();
        let caller = caller_of(held.served.key, &held.notification);
        let mut deadline = held.received.checked_add(delay).unwrap_or_else(|| held.received + FOR_EVER);
        if queue.has_newer(caller, &held.notification) {
            // The task has left this call long since, and waits in another: nobody waits for an answer.
            drop(queue);
            return Hold::Replaced;
        }
        let mut outcome = Hold::Waits;
        if let Some((due, earlier)) = queue.remove(caller) {
            match earlier {
                Entry::Waited(_, call) if same_call(&call, &held.notification) => return Hold::Over(held),
                Entry::Waited(..) => {}
                Entry::Held(earlier) => {
                    outcome = Hold::Replaced;
                    if same_call(&earlier.notification, &held.notification) {
                        deadline = due.0;
                    }
                }
            }
        }
        queue.insert(deadline, caller, Entry::Held(held));
        self.arm(&queue);
        outcome
    }

    /// Holds a call again that had its turn and could not be answered: false if its task has gone on since.
    pub(super) fn put_back(&self, held: Held, wait: Duration) -> bool {
        let mut queue = self.queue();
        let caller = caller_of(held.served.key, &held.notification);
        if queue.by_caller.contains_key(&caller) {
            return false;
        }
        queue.insert(Instant::now() + wait, caller, Entry::Held(held));
        self.arm(&queue);
        true
    }

    /// Takes out the calls whose time has come, and waits for the next.
    pub(super) fn due(&self, now: Instant) -> Vec<Held> {
        timer::clear(&self.timer);
        let mut queue = self.queue();
        let mut calls = Vec::new();
        while let Some(entry) = queue.pop_due(now) {
            if let Entry::Held(held) = entry {
                calls.push(held);
            }
        }
        self.arm(&queue);
        calls
    }

    /// Remembers that a call had waited when a signal interrupted it.
    pub(super) fn remember(&self, key: Key, notification: &Notification) {
        if notification.tid == 0 {
            // It could not be told from others.
            return;
        }
        let mut queue = self.queue();
        let caller = caller_of(key, notification);
        if !queue.by_caller.contains_key(&caller) {
            queue.insert(Instant::now() + RESTART_WITHIN, caller, Entry::Waited(key, *notification));
        }
    }

    /// Forgets all calls of a listener; its callers are gone.
    pub(super) fn forget(&self, key: Key) {
        let mut queue = self.queue();
        let callers: Vec<_> = queue.of_listener(key).collect();
        let gone: Vec<_> = callers.into_iter().filter_map(|caller| queue.remove(caller)).collect();
        // Dropping a held call gives back a slot and may close the listener: not under the lock.
        drop(queue);
        drop(gone);
    }

    /// Takes out every call, whether or not its time has come.
    pub(super) fn drain(&self) -> Vec<Held> {
        let queue = std::mem::take(&mut *self.queue());
        queue
            .due
            .into_values()
            .filter_map(|entry| if let Entry::Held(held) = entry { Some(held) } else { None })
            .collect()
    }

    fn arm(&self, queue: &Queue) {
        if let Some(((deadline, _), _)) = queue.due.first_key_value() {
            timer::arm(&self.timer, deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn insert(&mut self, deadline: Instant, caller: CallerKey, entry: Entry) {
        self.count += 1;
        let due = (deadline, self.count);
        self.due.insert(due, entry);
        self.by_caller.insert(caller, due);
    }

    fn remove(&mut self, caller: CallerKey) -> Option<(Due, Entry)> {
        let due = self.by_caller.remove(&caller)?;
        self.due.remove_entry(&due)
    }

    /// Whether the caller waits in a call that came after `notification`. The kernel numbers a listener's
    /// notifications upwards.
    fn has_newer(&self, caller: CallerKey, notification: &Notification) -> bool {
        let entry = self.by_caller.get(&caller).and_then(|due| self.due.get(due));
        matches!(entry, Some(Entry::Held(held)) if held.notification.id > notification.id)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Entry> {
        let first = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let entry = first.remove();
        let caller = match &entry {
            Entry::Held(held) => caller_of(held.served.key, &held.notification),
            Entry::Waited(key, notification) => caller_of(*key, notification),
        };
        self.by_caller.remove(&caller);
        Some(entry)
    }

    fn of_listener(&self, key: Key) -> impl Iterator<Item = CallerKey> {
        self.by_caller.range((key, 0, 0)..=(key, u32::MAX, u64::MAX)).map(|(caller, _)| *caller)
    }
}

fn caller_of(key: Key, notification: &Notification) -> CallerKey {
    (key, notification.tid, if notification.tid == 0 { notification.id.as_raw() } else { 0 })
}

/// Whether the second is the first, restarted after a signal.
fn same_call(earlier: &Notification, later: &Notification) -> bool {
    earlier.syscall == later.syscall
        && earlier.args == later.args
        && earlier.instruction_pointer == later.instruction_pointer
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use seccomp_agent_notify::{Listener, SlotTable, filter};
    use seccomp_agent_registry::{Arch, Container, Registry, Syscall};

    use super::super::table::Table;
    use super::*;

    /// Two notifications of one task, the first cut off by the second, as their listener numbers them.
    fn restarted(check: impl FnOnce(&Arc<Served>, [Notification; 2])) {
        let (send, receive) = mpsc::channel();
        let getsid = Syscall::named(Arch::native(), "getsid").unwrap();
        let caller = std::thread::spawn(move || {
            send.send(filter::install(&filter::notifying(&[getsid]), filter::Flags::empty()).unwrap())
                .unwrap();
            for _ in 0..2 {
                let _session = nix::unistd::getsid(None);
            }
        });
        let listener = Listener::new(receive.recv().unwrap()).unwrap();
        let mut slot = SlotTable::new(1).unwrap().take().unwrap();
        let mut next = || {
            let notification = listener.receive(&mut slot).unwrap();
            listener.respond(notification.id, seccomp_agent_notify::Response::Continue).unwrap();
            notification
        };
        let calls = [next(), next()];
        caller.join().unwrap();
        let (container, registry) = (Arc::new(Container::named("c")), Arc::new(Registry::new()));
        let served =
            Table::new().insert(|key| Served::new(key, listener, container, registry, None)).unwrap();
        check(&served, calls);
    }

    fn held(served: &Arc<Served>, notification: Notification) -> Held {
        let (served, received) = (Arc::clone(served), Instant::now());
        Held { served, notification, received, verdict: Verdict::Continue, slot: None }
    }

    #[test]
    fn a_call_that_a_handler_was_late_with_does_not_displace_the_one_that_came_after() {
        restarted(|served, [earlier, later]| {
            let delays = Delays::new().unwrap();
            assert!(matches!(delays.hold(held(served, later), Duration::ZERO), Hold::Waits));
            assert!(matches!(delays.hold(held(served, earlier), Duration::ZERO), Hold::Replaced));
            assert!(!delays.put_back(held(served, earlier), Duration::ZERO));
            let due: Vec<_> = delays.due(Instant::now()).into_iter().map(|held| held.notification).collect();
            assert_eq!(due, [later]);
        });
    }

    #[test]
    fn a_call_that_had_waited_when_a_signal_came_waits_no_more() {
        // The kernel restarts a call with the same registers.
        restarted(|served, [call, other]| {
            let delays = Delays::new().unwrap();
            delays.remember(served.key, &call);
            assert!(matches!(delays.hold(held(served, call), Duration::from_secs(60)), Hold::Over(_)));
            delays.remember(served.key, &call);
            let other = Notification { args: [1; 6], ..other };
            assert!(matches!(delays.hold(held(served, other), Duration::from_secs(60)), Hold::Waits));
        });
    }

    #[test]
    fn a_delay_that_no_clock_can_measure_is_held_all_the_same() {
        restarted(|served, [earlier, _]| {
            let delays = Delays::new().unwrap();
            assert!(matches!(delays.hold(held(served, earlier), Duration::MAX), Hold::Waits));
            assert!(delays.due(Instant::now()).is_empty());
            delays.forget(served.key);
            assert!(delays.drain().is_empty());
        });
    }
}
