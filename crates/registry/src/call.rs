use seccomp_agent_notify::{Errno, Features, Listener, Notification, Syscall, Task, TaskError};
use seccomp_agent_readarg::Memory;

use crate::container::Container;
use crate::notes::{Noted, Notes};

/// One notified call, as a handler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    notification: &'a Notification,
    container: &'a Container,
    caller: Option<Caller<'a>>,
    notes: Option<&'a Notes>,
}

/// The way back to the task that waits for the answer.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The listener that the notification came from.
    pub listener: &'a Listener,
    /// What the kernel can do.
    pub features: &'a Features,
}

impl<'a> Call<'a> {
    /// A call without a caller, such as a test makes: it can be decided about, but nobody waits for it.
    pub const fn new(notification: &'a Notification, container: &'a Container) -> Self {
        Self { notification, container, caller: None, notes: None }
    }

    /// A call that `caller` waits for.
    pub const fn of_caller(
        notification: &'a Notification,
        container: &'a Container,
        caller: Caller<'a>,
    ) -> Self {
        Self { notification, container, caller: Some(caller), notes: None }
    }

    /// The same call, with a place for [`note`](Self::note)s.
    pub const fn noted_in<'b>(&self, notes: &'b Notes) -> Call<'b>
    where
        'a: 'b,
    {
        Call { notes: Some(notes), ..*self }
    }

    /// Notes something about the decision, for those who keep an account. `false` if nobody does; then `note` is
    /// not called.
    pub fn note(&self, note: impl FnOnce(&mut Noted)) -> bool {
        if let Some(notes) = self.notes {
            notes.take_down(note);
        }
        self.notes.is_some()
    }

    /// What was called.
    pub const fn syscall(&self) -> Syscall {
        self.notification.syscall
    }

    /// The argument with this index, 0 to 5, cut to the caller's register width.
    ///
    /// # Panics
    /// If there is no such argument.
    pub const fn arg(&self, index: usize) -> u64 {
        self.notification.args[index]
    }

    /// An argument that the kernel takes as an `int`, such as a descriptor or flags.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // As the kernel does.
    pub const fn int_arg(&self, index: usize) -> i32 {
        self.arg(index) as i32
    }

    /// The calling thread in this process's pid namespace; 0 if it is not visible there.
    pub const fn tid(&self) -> u32 {
        self.notification.tid
    }

    /// The notification itself.
    pub const fn notification(&self) -> &'a Notification {
        self.notification
    }

    /// Whose call it is.
    pub const fn container(&self) -> &'a Container {
        self.container
    }

    /// What the kernel can do; nothing that came after Linux 5.10 for a call without a caller.
    pub fn features(&self) -> Features {
        self.caller.map_or_else(Features::default, |caller| *caller.features)
    }

    /// The listener, for handing in descriptors.
    pub fn listener(&self) -> Option<&'a Listener> {
        self.caller.map(|caller| caller.listener)
    }

    /// Whether the caller is still blocked in this call. Ask **after** reading whatever the decision rests on
    /// and **before** doing anything: the yes proves that what was read was the caller's.
    pub fn is_valid(&self) -> bool {
        self.caller.is_some_and(|caller| caller.listener.is_valid(self.notification.id))
    }

    /// `Ok` while the caller waits, EINTR once nobody sees the answer: for `?` in a handler.
    pub fn check_valid(&self) -> Result<(), Errno> {
        if self.is_valid() { Ok(()) } else { Err(Errno::INTR) }
    }

    /// The caller's memory, to read arguments from. Copy once, then act on the copy.
    pub const fn memory(&self) -> Memory {
        Memory::of(self.notification.tid, self.notification.syscall.arch)
    }

    /// The calling task, held so that it can be signalled.
    pub fn task(&self) -> Result<Task, TaskError> {
        Task::open(self.notification.tid, self.features().thread_pidfd)
    }
}
