//! The message with which a runtime hands over a listener.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_agent_agent::{MAX_ID, ProcessState};

fuzz_target!(|message: &[u8]| {
    // What the log would say of it is short, whatever it is.
    let refused = match ProcessState::parse(message) {
        Ok(state) => {
            assert!(state.container.id.len() <= MAX_ID);
            state.listener_index().map(|index| assert_eq!(state.descriptors[index], "seccompFd")).err()
        }
        Err(error) => Some(error),
    };
    assert!(refused.is_none_or(|error| error.to_string().len() < 2000));
});
