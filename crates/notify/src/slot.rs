use std::cell::UnsafeCell;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::{self, Errno};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::notification::{Notification, Response};

/// A fixed table of slots that notifications are received into.
///
/// The kernel copies a notification straight into a slot, so there is never a moment at which a received call
/// is known to nobody: whoever shares the mapping finds every call that has been received and not answered,
/// and how far its answer had come. The memory is a shared mapping and is touched only where slots are used.
#[derive(Debug)]
pub struct SlotTable {
    memory: NonNull<RawSlot>,
    count: usize,
    /// Used last, taken first: a slot that was just given back lies in a page that is already there.
    free: Mutex<Vec<usize>>,
}

/// How far the answer of a slot's notification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// Nobody uses it.
    Free = 0,
    /// A thread waits for a notification; once the id in it is not zero, one has been received.
    Receiving = 1,
    /// Received, and nothing with an effect has been done for it.
    Received = 2,
    /// A thread is doing something for the caller that may not be done twice.
    Acting = 3,
    /// The answer is decided and stands in the slot; it may or may not have been sent.
    Done = 4,
}

/// One slot, owned: returned to its table when dropped.
#[derive(Debug)]
pub struct Slot {
    table: Arc<SlotTable>,
    index: usize,
}

/// A slot as it lies in memory: two cache lines, never across a page.
#[repr(C, align(128))]
struct RawSlot {
    notif: UnsafeCell<libc::seccomp_notif>,
    /// A [`SlotState`].
    state: AtomicU32,
    /// While acting: the thread that does.
    acting_tid: AtomicU32,
    /// Which listener it came from, as its owner numbers them.
    listener: AtomicU64,
    /// When done: the value, or minus the error; `i64::MIN` for continue.
    result: AtomicU64,
}

const _: () = assert!(size_of::<RawSlot>() == 128);

/// How [`RawSlot::result`] says [`Response::Continue`]: no system call returns it.
const CONTINUE: i64 = i64::MIN;

// SAFETY: the mapping is shared memory that lives as long as the table. Everything in it is atomic but
// `notif`, which only the one owner of a slot's `Slot` reaches; `free` hands each index out once.
unsafe impl Send for SlotTable {}
// SAFETY: as for `Send`.
unsafe impl Sync for SlotTable {}

impl SlotTable {
    /// Maps a table of `count` slots, 128 bytes each.
    pub fn new(count: usize) -> io::Result<Arc<Self>> {
        let bytes = count.checked_mul(size_of::<RawSlot>()).ok_or(Errno::NOMEM)?;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs no other memory.
        let memory = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
            )
        }?;
        let memory = NonNull::new(memory.cast()).ok_or(Errno::NOMEM)?;
        Ok(Arc::new(Self { memory, count, free: Mutex::new((0..count).rev().collect()) }))
    }

    /// A slot that nobody uses; `None` while all are in use.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        self.take_leaving(0)
    }

    /// [`take`](Self::take), for a use that has to leave `reserve` slots to others.
    pub fn take_leaving(self: &Arc<Self>, reserve: usize) -> Option<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = if free.len() > reserve { free.pop() } else { None }?;
        drop(free);
        Some(Slot { table: Arc::clone(self), index })
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no slots at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn raw(&self, index: usize) -> &RawSlot {
        assert!(index < self.count, "slot {index} of {}", self.count);
        // SAFETY: `index` is within the mapping (asserted), which is one allocation of `count` slots.
        let slot = unsafe { self.memory.add(index) };
        // SAFETY: the mapping is aligned to a page and lives as long as `self`; all-zero bytes are a valid
        // `RawSlot`, and what other processes may change in it is atomic.
        unsafe { slot.as_ref() }
    }
}

impl Drop for SlotTable {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this size; every `Slot` holds the table, so none is left.
        let unmapped = unsafe { munmap(self.memory.as_ptr().cast(), self.count * size_of::<RawSlot>()) };
        debug_assert!(unmapped.is_ok() || self.count == 0, "unmapping our own mapping: {unmapped:?}");
    }
}

impl Slot {
    /// Notes which listener the next notification comes from.
    pub fn set_listener(&mut self, number: u64) {
        self.raw().listener.store(number, Ordering::Relaxed);
    }

    /// How far the answer has come.
    pub fn state(&self) -> SlotState {
        match self.raw().state.load(Ordering::Acquire) {
            1 => SlotState::Receiving,
            2 => SlotState::Received,
            3 => SlotState::Acting,
            4 => SlotState::Done,
            _ => SlotState::Free,
        }
    }

    /// Notes that thread `tid` begins something that may not be done twice.
    pub fn begin_acting(&mut self, tid: u32) {
        self.raw().acting_tid.store(tid, Ordering::Relaxed);
        self.set_state(SlotState::Acting);
    }

    /// Notes the answer, before it is sent.
    pub fn set_done(&mut self, response: Response) {
        let result = match response {
            Response::Continue => CONTINUE,
            Response::Return(value) => value,
            Response::Errno(errno) => -i64::from(errno.raw_os_error()),
        };
        self.raw().result.store(result.cast_unsigned(), Ordering::Relaxed);
        self.set_state(SlotState::Done);
    }

    /// Zeroes the slot, as the kernel wants it, and lets `receive` fill it.
    pub(crate) fn receive_with(
        &mut self,
        receive: impl FnOnce(&mut libc::seccomp_notif) -> io::Result<()>,
    ) -> io::Result<Notification> {
        // SAFETY: `&mut self` is the only way to the slot's notification in this process, and another process
        // that maps the table reads it only after this one has ended.
        let notif = unsafe { &mut *self.raw().notif.get() };
        // SAFETY: `seccomp_notif` is a struct of integers, for which zero is valid.
        *notif = unsafe { std::mem::zeroed() };
        self.set_state(SlotState::Receiving);
        match receive(notif) {
            Ok(()) => {
                self.set_state(SlotState::Received);
                Ok(Notification::from_kernel(notif))
            }
            Err(errno) => {
                self.set_state(SlotState::Free);
                Err(errno)
            }
        }
    }

    fn set_state(&self, state: SlotState) {
        self.raw().state.store(state as u32, Ordering::Release);
    }

    fn raw(&self) -> &RawSlot {
        self.table.raw(self.index)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.set_state(SlotState::Free);
        self.table.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_hands_out_each_slot_once_and_takes_it_back() {
        let table = SlotTable::new(2).unwrap();
        let (first, second) = (table.take().unwrap(), table.take().unwrap());
        assert!(table.take().is_none());
        assert!(table.take_leaving(usize::MAX).is_none());
        assert_ne!(first.index, second.index);
        drop(first);
        assert!(table.take().is_some());
    }

    #[test]
    fn the_kernel_gets_a_zeroed_slot_and_the_state_follows_the_call() {
        let table = SlotTable::new(1).unwrap();
        let mut slot = table.take().unwrap();
        for round in 1..3 {
            let notification = slot
                .receive_with(|notif| {
                    assert_eq!((notif.id, notif.pid, notif.data.args), (0, 0, [0; 6]));
                    (notif.id, notif.pid, notif.data.args) = (round, 5, [9; 6]);
                    Ok(())
                })
                .unwrap();
            assert_eq!((notification.id.as_raw(), slot.state()), (round, SlotState::Received));
            slot.begin_acting(77);
            assert_eq!(slot.state(), SlotState::Acting);
            slot.set_done(Response::Errno(Errno::PERM));
            assert_eq!(slot.state(), SlotState::Done);
        }
        assert_eq!(slot.receive_with(|_| Err(Errno::NOENT)), Err(Errno::NOENT));
        assert_eq!(slot.state(), SlotState::Free);
    }
}
