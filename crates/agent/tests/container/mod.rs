//! A container that is a thread: a seccomp filter belongs to the thread that installs it and to those it starts.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use seccomp_agent_notify::filter::{self, Flags};
use seccomp_agent_notify::{Arch, Listener, Syscall};

/// Starts a thread under a filter that notifies `calls`, and runs `body` on it.
pub(crate) fn start<T: Send + 'static>(
    calls: &[&str],
    flags: Flags,
    body: impl FnOnce() -> T + Send + 'static,
) -> (Listener, JoinHandle<T>) {
    let calls: Vec<_> =
        calls.iter().map(|name| Syscall::named(Arch::native(), name).expect("a system call")).collect();
    let (send, receive) = channel();
    let thread = std::thread::spawn(move || {
        let listener = filter::install(&filter::notifying(&calls), flags).expect("installing a filter");
        send.send(listener).expect("the test waits for the listener");
        body()
    });
    let listener = Listener::new(receive.recv().expect("a listener")).expect("it is one");
    (listener, thread)
}
