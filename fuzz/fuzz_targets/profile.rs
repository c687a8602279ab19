//! A seccomp profile: read, written and read again, resolved, compiled, and its filter run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_agent_profile::{Profile, SeccompData, compile};
use seccomp_agent_syscall::{Arch, Syscall};

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = Profile::from_json(bytes) else { return };
    let again = Profile::from_json(profile.to_json().as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_json(), profile.to_json());

    let meaning = profile.resolve(Arch::X86_64).normal_form;
    let Ok(filter) = compile(&meaning) else { return };
    for name in ["read", "mkdir", "clone", "socket", "personality"] {
        let Some(call) = Syscall::named(Arch::X86_64, name) else { continue };
        for arguments in [[0; 6], [1; 6], [u64::MAX; 6], [0, 8, 1 << 32, 42, 0x7e02_0000, 2]] {
            assert_eq!(filter.run(&SeccompData::new(call, arguments)), meaning.action_for(call, &arguments));
        }
    }
});
