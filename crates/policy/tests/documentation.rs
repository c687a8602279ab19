//! The examples of the manual are policies.

use seccomp_agent_policy::Policy;

#[test]
fn every_example_of_the_manual_is_well() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let examples: Vec<_> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 6);
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
