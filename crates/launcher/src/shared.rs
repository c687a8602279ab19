use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;

/// Two words that a process and its fork both see. The child tells its parent by them what it can tell by no
/// system call: each might be notified, and there is nobody yet to answer.
pub(crate) struct Shared(NonNull<Words>);

/// What became of the filter.
pub(crate) enum Loaded {
    /// Its listener is this descriptor.
    Listener(i32),
    /// It has none.
    Alone,
}

/// Zero, as the kernel gives it, means that nothing was said yet.
#[repr(C)]
struct Words {
    loaded: AtomicI32,
    execute: AtomicI32,
}

/// The filter has no listener.
const WITHOUT_LISTENER: i32 = i32::MAX;

impl Shared {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: a new anonymous mapping at a place of the kernel's choice; it touches nothing that exists.
        let memory = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                size_of::<Words>(),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
            )
        }?;
        NonNull::new(memory.cast()).map(Self).ok_or(Errno::NOMEM)
    }

    /// The filter is loaded, or there is none.
    pub(crate) fn set_loaded(&self, loaded: &Loaded) {
        let word = match *loaded {
            Loaded::Listener(number) => number,
            Loaded::Alone => WITHOUT_LISTENER,
        };
        self.words().loaded.store(word, Ordering::Release);
    }

    /// What [`set_loaded`](Self::set_loaded) said, if it was called yet.
    pub(crate) fn loaded(&self) -> Option<Loaded> {
        match self.words().loaded.load(Ordering::Acquire) {
            0 => None,
            WITHOUT_LISTENER => Some(Loaded::Alone),
            number => Some(Loaded::Listener(number)),
        }
    }

    /// The command could not be executed.
    pub(crate) fn set_execute_failed(&self, errno: Errno) {
        self.words().execute.store(errno.raw_os_error(), Ordering::Release);
    }

    /// Why the command could not be executed, if so.
    pub(crate) fn execute_failed(&self) -> Option<Errno> {
        match self.words().execute.load(Ordering::Acquire) {
            0 => None,
            errno => Some(Errno::from_raw_os_error(errno)),
        }
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is page-aligned, zeroed, large enough and never unmapped; all bit patterns are
        // valid, and every access is atomic.
        unsafe { self.0.as_ref() }
    }
}
