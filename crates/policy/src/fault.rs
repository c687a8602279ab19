//! What is wrong with a policy, and where.

use std::fmt;

use serde_saphyr::{Error as YamlError, Location};

use crate::near::hint;

/// One thing that is wrong: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The line, from 1; 0 where it is not known.
    pub line: u64,
    /// The column, from 1; 0 where it is not known.
    pub column: u64,
    /// The field, such as `rules[0].grant.modes`; empty where it is the whole.
    pub field: String,
    /// What is wrong, with a suggestion for a misspelt word.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(location: Location, field: String, message: String) -> Self {
        Self { line: location.line(), column: location.column(), field, message }
    }

    /// What the parser found, at `path`.
    pub(crate) fn parsing(error: &YamlError, path: &str) -> Self {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let message = match error {
            YamlError::SerdeUnknownField { field, expected, .. } => {
                format!("unknown key {field:?}{}", suggestion(field, expected))
            }
            YamlError::SerdeUnknownVariant { variant, expected, .. } => {
                format!("unknown value {variant:?}{}", suggestion(variant, expected))
            }
            YamlError::SerdeMissingField { field, .. } => format!("the key {field:?} is missing"),
            YamlError::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key {key:?} is there twice")
            }
            YamlError::SerdeInvalidType { unexpected, expected, .. } => {
                format!("found {unexpected}, expected {expected}")
            }
            YamlError::Unexpected { expected: "mapping start", .. } => "expected a mapping".to_owned(),
            YamlError::Unexpected { expected: "sequence start", .. } => "expected a list".to_owned(),
            YamlError::Unexpected { expected: "string scalar", .. } => "expected a value".to_owned(),
            YamlError::Eof { .. } => "the policy is empty; it begins with `version: 1`".to_owned(),
            YamlError::Message { msg, .. } => msg.clone(),
            YamlError::MultipleDocuments { .. } => "a policy is one document".to_owned(),
            other => first_line(other),
        };
        // A place that serde has no name for is a dot or a question mark; values with a location have one inside.
        let field = path.trim_end_matches(".?").trim_end_matches(".value").trim_start_matches('.');
        Self::new(location, field.to_owned(), message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

fn suggestion(word: &str, expected: &[&'static str]) -> String {
    let hint = hint(word, expected.iter().copied());
    if hint.is_empty() { format!("; there are {}", expected.join(", ")) } else { hint }
}

/// The parser's own words, without the place: that stands before them.
fn first_line(error: &YamlError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or_default().to_owned()
}
