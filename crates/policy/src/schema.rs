//! The published schema is that of the types.

use std::path::Path;

use crate::policy::Document;

#[test]
fn the_published_schema_is_that_of_the_types() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.schema.json");
    let schema = schemars::schema_for!(Document);
    let expected = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&published, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&published).unwrap();
    assert!(
        found == expected,
        "run this test with UPDATE_SCHEMA=1 to bring docs/policy.schema.json into step"
    );
}
