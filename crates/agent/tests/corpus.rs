//! The fuzz target's corpus, without a fuzzer.

#![allow(clippy::unwrap_used)] // What fails here is the test.

use std::path::Path;

use seccomp_agent_agent::{MAX_ID, ProcessState};

#[test]
fn no_state_of_the_corpus_breaks_the_parser() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/state");
    let mut understood = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        match ProcessState::parse(&std::fs::read(&path).unwrap()) {
            Ok(state) => {
                assert!(state.container.id.len() <= MAX_ID, "{path:?}");
                understood += u32::from(state.listener_index().is_ok());
            }
            Err(error) => assert!(error.to_string().len() < 2000, "{path:?}"),
        }
    }
    assert!(understood >= 3, "{understood}");
}
