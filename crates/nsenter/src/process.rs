//! A process that shares this one's memory and descriptors, and runs closures when it is told to.
//!
//! It is what the kernel wants of whoever joins a user namespace, a process of one thread, and nothing more. It
//! is born by a thread of ours that waits for its end and otherwise does nothing, for the process has taken its
//! thread-local storage. Once it has joined a container it can be killed from there at any moment, so that a
//! closure must leave nothing behind that others wait for: it allocates nothing and takes no lock.
//!
//! - It takes no signal but SIGKILL and SIGSTOP; when it is stopped, it is killed.
//! - It ends with the thread that has started it, however that ends.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, pidfd_send_signal, test_kill_process};
use rustix::thread::futex;

use crate::home::from_nix;
use crate::raw;

/// The process, as whoever has started it sees it. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    desk: Arc<Desk>,
    pidfd: OwnedFd,
}

/// The process has ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// Where the process, its thread and its users meet.
#[derive(Debug)]
struct Desk {
    /// One of the four below; a futex.
    state: AtomicU32,
    /// A [`Job`], while the state is [`WORKING`].
    job: AtomicPtr<c_void>,
    pidfd: AtomicI32,
    /// Why there is no process.
    errno: AtomicI32,
    parent: Pid,
}

const STARTING: u32 = 0;
const IDLE: u32 = 1;
const WORKING: u32 = 2;
const ENDED: u32 = 3;

/// How much stack closures have, in bytes: as much as workers give a handler, and a guard page.
const STACK: usize = 512 << 10;
const GUARD: usize = 64 << 10;

/// The stack of the thread that waits.
const THREAD_STACK: usize = 64 << 10;

/// What is to be run, where it finds its result's place: on the stack of whoever waits for it.
#[repr(C)]
struct Job<F, T> {
    /// First, so that it is found without knowing the rest.
    run: unsafe fn(*mut c_void),
    work: ManuallyDrop<F>,
    result: MaybeUninit<T>,
}

impl Process {
    /// Starts the process.
    pub(crate) fn start() -> Result<Self, Errno> {
        let desk = Arc::new(Desk {
            state: AtomicU32::new(STARTING),
            job: AtomicPtr::new(ptr::null_mut()),
            pidfd: AtomicI32::new(-1),
            errno: AtomicI32::new(0),
            parent: getpid(),
        });
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("seccomp-helper".into()).stack_size(THREAD_STACK);
        thread.spawn(move || host(&theirs)).map_err(|_| Errno::AGAIN)?;
        desk.wait_while(STARTING);
        let pidfd = desk.pidfd.load(Ordering::Acquire);
        if pidfd < 0 {
            return Err(Errno::from_raw_os_error(desk.errno.load(Ordering::Acquire)));
        }
        // SAFETY: the kernel has opened it in the table that we share with the process, and nobody else has it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { desk, pidfd })
    }

    fn kill(&self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.desk.state.load(Ordering::Acquire) == ENDED
    }

    /// Runs `work` in the process, and waits. What a process that ends meanwhile has begun is never undone, and
    /// what `work` owned is not dropped.
    ///
    /// `work` makes raw system calls and nothing else.
    pub(crate) fn run<T>(&mut self, work: impl FnOnce() -> T) -> Result<T, Ended> {
        self.run_while(|| true, None, work)
    }

    /// [`run`](Self::run), for as long as it `is_wanted`, which is asked again and again with this much time between:
    /// then the process is killed.
    fn run_while<T>(
        &mut self,
        is_wanted: impl Fn() -> bool,
        asked_each: Option<Duration>,
        work: impl FnOnce() -> T,
    ) -> Result<T, Ended> {
        let mut job = job_of(work);
        let desk = &*self.desk;
        desk.job.store((&raw mut job).cast(), Ordering::Release);
        let begun = desk.state.compare_exchange(IDLE, WORKING, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            // SAFETY: nobody has been told of it, so nobody else takes it.
            unsafe { ManuallyDrop::drop(&mut job.work) };
            return Err(Ended);
        }
        desk.wake();
        while desk.wait(WORKING, asked_each) == WORKING {
            if !is_wanted() {
                self.kill();
                desk.wait_while(WORKING);
            }
        }
        if self.has_ended() {
            return Err(Ended);
        }
        // SAFETY: the process has left the state that said it was working, so it has written the result and
        // does not look at the job any more.
        Ok(unsafe { job.result.assume_init_read() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `work` in a process of its own for as long as it `is_wanted`: for a system call that can wait for somebody for
/// ever, and that only the end of whoever makes it calls off. EINTR if it is not wanted any more.
///
/// The process shares memory and descriptors, and has the credentials and the root of this thread, which must be itself,
/// not acting. `work` makes system calls and nothing else: no allocation, no lock.
pub fn call_while<T>(
    is_wanted: impl Fn() -> bool,
    work: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    /// Longer than calls take that wait for nobody.
    const ASKED_EACH: Duration = Duration::from_millis(20);
    Process::start()?.run_while(is_wanted, Some(ASKED_EACH), work).unwrap_or(Err(Errno::INTR))
}

impl Desk {
    /// Waits until the state is another than `state`, and says which.
    fn wait_while(&self, state: u32) -> u32 {
        loop {
            let now = self.wait(state, None);
            if now != state {
                return now;
            }
        }
    }

    /// Waits once, for so long at most, and says which state there is.
    fn wait(&self, state: u32, at_most: Option<Duration>) -> u32 {
        let now = self.state.load(Ordering::Acquire);
        if now != state {
            return now;
        }
        let timeout = at_most.and_then(|at_most| at_most.try_into().ok());
        // Whatever it says, the state is looked at again.
        let _ = futex::wait(&self.state, futex::Flags::PRIVATE, state, timeout.as_ref());
        self.state.load(Ordering::Acquire)
    }

    fn fail(&self, errno: Errno) {
        self.errno.store(errno.raw_os_error(), Ordering::Release);
    }

    fn wake(&self) {
        let _ = futex::wake(&self.state, futex::Flags::PRIVATE, u32::MAX >> 1);
    }
}

fn job_of<F: FnOnce() -> T, T>(work: F) -> Job<F, T> {
    unsafe fn run<F: FnOnce() -> T, T>(job: *mut c_void) {
        // SAFETY: the caller's promise: it is a `Job` of these types, alive, and nobody else's for now.
        let job = unsafe { &mut *job.cast::<Job<F, T>>() };
        // SAFETY: as above: it has not been run before.
        let work = unsafe { ManuallyDrop::take(&mut job.work) };
        job.result.write(work());
    }
    Job { run: run::<F, T>, work: ManuallyDrop::new(work), result: MaybeUninit::uninit() }
}

/// The thread: starts the process and waits for its end.
fn host(desk: &Desk) {
    match Stack::map() {
        Err(errno) => desk.fail(errno),
        Ok(stack) => match bear(desk, &stack) {
            Err(errno) => desk.fail(errno),
            Ok(pid) => wait_for_end(pid),
        },
    }
    desk.state.store(ENDED, Ordering::Release);
    desk.wake();
}

/// Memory for a stack, with a guard below.
struct Stack(*mut c_void);

impl Stack {
    fn map() -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping, in nobody's way.
        let start = unsafe { libc::mmap(ptr::null_mut(), GUARD + STACK, protection, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(from_nix(nix::Error::last()));
        }
        let stack = Self(start);
        // SAFETY: the lower part of the mapping just made, which nobody uses yet.
        let guarded = unsafe { libc::mprotect(start, GUARD, libc::PROT_NONE) };
        if guarded == 0 { Ok(stack) } else { Err(from_nix(nix::Error::last())) }
    }

    /// Its upper end, where it begins to be used.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(GUARD + STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`; who ran on it has ended.
        unsafe { libc::munmap(self.0, GUARD + STACK) };
    }
}

/// Starts the process on `stack`. Until it has ended, this thread must neither touch its thread-local storage,
/// which errno is in, nor let go of `desk` and `stack`.
fn bear(desk: &Desk, stack: &Stack) -> Result<Pid, Errno> {
    // For good: a handler would run with the storage that is lent to the process.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(from_nix)?;
    // No parent waits in the kernel, as CLONE_VFORK has it: that would count as load for as long as it lasts.
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
    let (argument, pidfd) = ((&raw const *desk).cast_mut().cast(), desk.pidfd.as_ptr());
    // SAFETY: `live` takes a `Desk`; `desk` and `stack` outlive the process, since the caller waits for its end;
    // nobody else uses `stack`; the thread-local storage is the process's until then.
    let pid = unsafe { libc::clone(live, stack.top(), flags, argument, pidfd) };
    if pid < 0 { Err(from_nix(nix::Error::last())) } else { Pid::from_raw(pid).ok_or(Errno::CHILD) }
}

/// Waits until the process has ended. If somebody stops it, which only a signal that cannot be blocked does, it is
/// killed: it would hold our descriptors beyond our own end.
fn wait_for_end(pid: Pid) {
    loop {
        match wait_for_change(pid) {
            libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED => return,
            // Its id is its own as long as nobody has waited for its end.
            libc::CLD_STOPPED => drop(kill_process(pid, Signal::KILL)),
            // Libc keeps some signals for itself, and they interrupt the call.
            _ if test_kill_process(pid).is_err() => return,
            _ => {}
        }
    }
}

/// `waitid(2)` for a child that sends no SIGCHLD, which only `__WALL` finds: what has become of it, or 0 if that
/// could not be learned. It is not read from errno, which is the child's.
fn wait_for_change(pid: Pid) -> c_int {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let (id, what) = (pid.as_raw_nonzero().get(), libc::WEXITED | libc::WSTOPPED | libc::__WALL);
    // SAFETY: a plain system call that writes a `siginfo_t` where there is room for one.
    unsafe {
        libc::syscall(libc::SYS_waitid, libc::P_PID, id, info.as_mut_ptr(), what, ptr::null_mut::<c_void>())
    };
    // SAFETY: any bytes are a `siginfo_t`.
    unsafe { info.assume_init() }.si_code
}

thread_local! {
    /// Who has started this process, in the thread-local storage of such a process.
    static PARENT: Cell<Option<Pid>> = const { Cell::new(None) };
}

/// The life of the process.
extern "C" fn live(desk: *mut c_void) -> c_int {
    // SAFETY: `bear` passes the `Desk`, which outlives this process.
    let desk = unsafe { &*desk.cast::<Desk>() };
    PARENT.set(Some(desk.parent));
    block_signals();
    end_with_parent();
    desk.state.store(IDLE, Ordering::Release);
    desk.wake();
    loop {
        if desk.wait_while(IDLE) != WORKING {
            return 0;
        }
        let job = desk.job.load(Ordering::Acquire);
        // SAFETY: `run` has put it there, and waits: a `Job` begins with the function that runs it.
        let run = unsafe { *job.cast::<unsafe fn(*mut c_void)>() };
        // SAFETY: it is of the types that the function is for, and runs once.
        unsafe { run(job) };
        desk.state.store(IDLE, Ordering::Release);
        desk.wake();
    }
}

/// `rt_sigprocmask(2)`, with the signals that libc keeps for itself, and does not let its own callers block: to it,
/// this process does not exist.
fn block_signals() {
    let all = u64::MAX;
    let (size, old) = (size_of_val(&all), ptr::null_mut::<c_void>());
    // SAFETY: a plain system call that reads a mask of the size that is said, alive for the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, old, size) };
}

/// Ends the process with whoever has started it. To be said again after each change of ids, which the kernel takes as a
/// reason to forget it.
pub(crate) fn end_with_parent() {
    raw::end_with_parent();
    if getppid() != PARENT.get() {
        // It has ended before that was said.
        raw::exit();
    }
}

/// Whether that is who calls. A panic of a closure is not to be reported there: a report takes locks and looks for
/// files, in the container.
pub(crate) fn is_process() -> bool {
    PARENT.try_with(Cell::get).is_ok_and(|parent| parent.is_some())
}
