//! The fuzz target's corpus, without a fuzzer.

#![allow(clippy::unwrap_used)] // What fails here is the test.

use std::path::Path;

use seccomp_agent_profile::{Profile, SeccompData, compile};
use seccomp_agent_syscall::{Arch, Syscall};

#[test]
fn no_profile_of_the_corpus_breaks_the_parser_or_the_compiler() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/profile");
    let mut understood = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let Ok(profile) = Profile::from_json(&std::fs::read(&path).unwrap()) else { continue };
        understood += 1;
        let again = Profile::from_json(profile.to_json().as_bytes()).unwrap();
        assert_eq!(again.to_json(), profile.to_json(), "{path:?}");
        let meaning = profile.resolve(Arch::X86_64).normal_form;
        let Ok(filter) = compile(&meaning) else { continue };
        for name in ["read", "mkdir", "clone", "socket", "personality"] {
            let call = Syscall::named(Arch::X86_64, name).unwrap();
            for arguments in [[0; 6], [1; 6], [u64::MAX; 6], [0, 8, 1 << 32, 42, 0x7e02_0000, 2]] {
                let run = filter.run(&SeccompData::new(call, arguments));
                assert_eq!(run, meaning.action_for(call, &arguments), "{path:?} {name}");
            }
        }
    }
    assert!(understood >= 4, "{understood}");
}
