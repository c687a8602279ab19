//! From a received notification to its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use seccomp_agent_notify::{Notification, Response, Slot};
use seccomp_agent_registry::{Call, Caller, Verdict};

use super::delays::{Held, Hold};
use super::monitor::Pace;
use super::served::Served;
use super::worker::Worker;
use super::{Shared, WORKER_SLOTS};

/// What the worker does after one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It receives the next.
    Receive,
    /// It lets go of the listener, which has as much in flight as it may.
    Pause,
    /// It has lost the listener while it was busy.
    GivenAway,
}

/// What carrying out a verdict came to.
enum Carried {
    /// The caller has its answer, unless it was `gone` already.
    Answered { gone: bool },
    /// It waits for its delay; `full` when its listener has as many waiting as it may.
    Held { full: bool },
    /// A verdict has to be worked out first, which takes a thread.
    Work(Work),
}

/// How long a call waits for a thread when its container has as many as it may.
const WORK_RETRY: Duration = Duration::from_millis(10);

type Work = Box<dyn FnOnce(&Call<'_>) -> Verdict + Send>;

/// Decides about a call on the worker that received it, and answers it.
pub(super) fn answer(
    shared: &Arc<Shared>,
    worker: &Worker,
    served: &Arc<Served>,
    slot: &mut Slot,
    notification: &Notification,
) -> Next {
    let received = served.meter.is_some().then(Instant::now);
    let call = served.call(shared, notification);
    let mut given_away = false;
    let mut verdict = match served.registry.find(notification.syscall) {
        None => Verdict::Continue,
        Some(handler) if !handler.may_block() => decide(&call, || handler.handle(&call)),
        Some(handler) => {
            slot.begin_acting(worker.thread.tid());
            worker.status.enter();
            shared.monitor.need(Pace::Fast);
            let verdict = decide(&call, || handler.handle(&call));
            given_away = !worker.status.leave();
            verdict
        }
    };
    let mut full = false;
    loop {
        match shared.carry_out(served, notification, received, verdict, Some(slot)) {
            Carried::Answered { .. } => break,
            Carried::Held { full: now_full } => {
                full = now_full;
                break;
            }
            Carried::Work(work) => {
                if !given_away {
                    shared.give_away(worker, served);
                    given_away = true;
                }
                verdict = decide(&call, || work(&call));
            }
        }
    }
    if given_away {
        worker.status.free();
        shared.take_back(served);
        return Next::GivenAway;
    }
    if full { Next::Pause } else { Next::Receive }
}

/// Works out and answers a held call whose time has come, on a thread of its own.
fn work_out(shared: &Arc<Shared>, mut held: Held, mut work: Work) {
    let served = Arc::clone(&held.served);
    let notification = held.notification;
    let call = served.call(shared, &notification);
    loop {
        let verdict = decide(&call, || work(&call));
        match shared.carry_out(&served, &notification, Some(held.received), verdict, held.slot.as_mut()) {
            Carried::Answered { .. } | Carried::Held { .. } => break,
            Carried::Work(more) => work = more,
        }
    }
    shared.unblock(&served);
}

/// Asks a handler. One that panics is a bug in the handler: its container gets EPERM, and everybody else goes on.
fn decide(call: &Call<'_>, handler: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|_| {
        tracing::error!(container = call.container().id, syscall = %call.syscall(), "the handler panicked; refused");
        Verdict::Errno(Errno::PERM)
    })
}

impl Shared {
    /// Answers the held calls whose time has come.
    pub(super) fn answer_due(self: &Arc<Self>) {
        for held in self.delays.due(Instant::now()) {
            self.release(held);
        }
    }

    /// Answers a held call.
    pub(super) fn release(self: &Arc<Self>, mut held: Held) {
        let served = Arc::clone(&held.served);
        let verdict = std::mem::replace(&mut held.verdict, Verdict::Continue);
        let received = Some(held.received);
        match self.carry_out(&served, &held.notification, received, verdict, held.slot.as_mut()) {
            // If a signal restarts the call, a wait that is over is not begun again.
            Carried::Answered { gone: true } => self.delays.remember(served.key, &held.notification),
            Carried::Answered { gone: false } | Carried::Held { .. } => {}
            Carried::Work(work) => self.start_work(held, work),
        }
        let then = served.gate().release(self.limits());
        self.rearm_if(then, &served);
    }

    fn carry_out(
        &self,
        served: &Arc<Served>,
        notification: &Notification,
        received: Option<Instant>,
        verdict: Verdict,
        slot: Option<&mut Slot>,
    ) -> Carried {
        let name = verdict.name();
        let response = match verdict {
            Verdict::Later(work) => return Carried::Work(work),
            Verdict::After(delay, verdict) => {
                let received = received.unwrap_or_else(Instant::now);
                return self.hold(served, notification, received, delay, *verdict, slot);
            }
            Verdict::Kill if self.kill(served, notification) => {
                served.measure(notification, name, received);
                return Carried::Answered { gone: false };
            }
            // Whatever a handler says: nothing else is right for a caller that is not visible here.
            Verdict::Return(_) if notification.tid == 0 => Response::Errno(Errno::PERM),
            Verdict::Kill => Response::Errno(Errno::PERM),
            Verdict::Continue => Response::Continue,
            Verdict::Return(value) => Response::Return(value),
            Verdict::Errno(errno) => Response::Errno(errno),
        };
        if let Some(slot) = slot {
            slot.set_done(response);
        }
        let sent = served.listener.respond(notification.id, response);
        if let Err(errno) = sent
            && errno != Errno::NOENT
            && errno != Errno::INPROGRESS
        {
            tracing::warn!(
                container = served.container.id,
                syscall = %notification.syscall,
                error = %errno,
                "an answer could not be sent"
            );
        }
        served.measure(notification, name, received);
        Carried::Answered { gone: sent == Err(Errno::NOENT) }
    }

    fn hold(
        &self,
        served: &Arc<Served>,
        notification: &Notification,
        received: Instant,
        delay: Duration,
        verdict: Verdict,
        slot: Option<&mut Slot>,
    ) -> Carried {
        // The call keeps its slot; whoever brought it gets another.
        let slot = match (slot, self.slots.take_leaving(WORKER_SLOTS)) {
            (Some(slot), Some(spare)) => Some(std::mem::replace(slot, spare)),
            _ => None,
        };
        let held = Held { served: Arc::clone(served), notification: *notification, received, verdict, slot };
        // Counted before the timer can see it.
        served.gate().hold();
        match self.delays.hold(held, delay) {
            Hold::Waits => {}
            Hold::Replaced => served.gate().forget_held(),
            Hold::Over(mut held) => {
                served.gate().forget_held();
                return self.carry_out(
                    served,
                    notification,
                    Some(received),
                    held.verdict,
                    held.slot.as_mut(),
                );
            }
        }
        if self.table.find(served.key).is_none() {
            // It has ended while its handler decided: nobody else will forget the call.
            self.delays.forget(served.key);
        }
        let full = served.gate().is_full(self.limits());
        Carried::Held { full }
    }

    /// Gives a held call whose verdict takes work a thread, or lets it wait a little for one.
    fn start_work(self: &Arc<Self>, held: Held, work: Work) {
        let served = Arc::clone(&held.served);
        if !served.gate().try_block(self.limits()) {
            served.gate().hold();
            if !self.delays.put_back(Held { verdict: Verdict::Later(work), ..held }, WORK_RETRY) {
                served.gate().forget_held();
            }
            return;
        }
        self.working.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(self);
        // Shared with the thread, so that the call is not lost where none can be had.
        let job = Arc::new(Mutex::new(Some((held, work))));
        let theirs = Arc::clone(&job);
        let started = std::thread::Builder::new().name("seccomp-later".into()).spawn(move || {
            let job = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((held, work)) = job {
                work_out(&shared, held, work);
            }
            shared.working.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = started {
            self.working.fetch_sub(1, Ordering::SeqCst);
            tracing::error!(%error, container = served.container.id, "no thread for a call; it fails with EAGAIN");
            if let Some((mut held, _)) = job.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let refused = Verdict::Errno(Errno::AGAIN);
                self.carry_out(&served, &held.notification, Some(held.received), refused, held.slot.as_mut());
            }
            self.unblock(&served);
        }
    }

    fn kill(&self, served: &Served, notification: &Notification) -> bool {
        let call = served.call(self, notification);
        let Ok(task) = call.task() else { return false };
        call.is_valid() && task.kill().is_ok()
    }
}

impl Served {
    fn call<'a>(&'a self, shared: &'a Shared, notification: &'a Notification) -> Call<'a> {
        let caller = Caller { listener: &self.listener, features: &shared.features };
        Call::of_caller(notification, &self.container, caller)
    }

    fn measure(&self, notification: &Notification, verdict: &'static str, received: Option<Instant>) {
        if let (Some(meter), Some(received)) = (&self.meter, received) {
            meter.answered(notification.syscall, verdict, received.elapsed());
        }
    }
}
