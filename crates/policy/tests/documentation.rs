//! The examples of the manual are policies.

#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

use seccomp_agent_policy::Policy;

#[test]
fn every_example_of_the_manual_is_well() {
    are_well("policy.md", 6);
    are_well("migrating-from-kinvolk.md", 1);
}

fn are_well(file: &str, count: usize) {
    let manual = format!("{}/../../docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(manual).unwrap();
    let examples: Vec<_> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), count, "{file}");
    for example in examples {
        let whole = if example.starts_with("version") {
            example.to_owned()
        } else if example.starts_with("rules") {
            format!("version: 1\n{example}")
        } else {
            let part = example.replace('\n', "\n    ");
            format!("version: 1\nrules:\n  - name: example\n    match: {{}}\n    {part}\n")
        };
        assert!(Policy::parse(&whole).is_ok(), "{:?} {whole}", Policy::parse(&whole).err());
    }
}
