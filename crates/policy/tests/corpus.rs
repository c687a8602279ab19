//! The fuzz targets' corpora, without a fuzzer.

#![allow(clippy::unwrap_used)] // What fails here is the test.

use std::path::{Path, PathBuf};

use seccomp_agent_policy::Policy;
use seccomp_agent_registry::Container;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(target: &str) -> Vec<String> {
    let entries = std::fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let texts = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
}

#[test]
fn no_policy_of_the_corpus_breaks_the_parser() {
    let policies: Vec<_> = corpus("policy").iter().map(|text| Policy::parse(text)).collect();
    assert!(policies.iter().any(Result::is_ok));
    for fault in policies.into_iter().filter_map(Result::err) {
        assert!(fault.to_string().len() < 2000, "{fault}");
    }
}

#[test]
fn no_metadata_of_the_corpus_breaks_resolving() {
    let generous = Policy::parse(&std::fs::read_to_string(fuzz().join("generous.yaml")).unwrap()).unwrap();
    let mut granted = 0;
    for metadata in corpus("metadata") {
        let mut container = Container::named("c");
        container.metadata = metadata;
        match generous.resolve(&container) {
            Ok(resolved) => granted += usize::from(!resolved.registry.names().is_empty()),
            Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
        }
    }
    assert!(granted >= 1, "{granted}");
}
