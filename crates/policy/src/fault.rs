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
        let message = message(error, path);
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

/// What is wrong, in words for somebody who has never heard of the parser.
fn message(error: &YamlError, path: &str) -> String {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key {field:?}{}", suggestion(field, expected))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value {variant:?}{}", suggestion(variant, expected))
        }
        YamlError::SerdeMissingField { field, .. } => format!("the key {field:?} is missing"),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is there twice"),
        YamlError::SerdeInvalidType { unexpected, expected, .. } => {
            format!("found {unexpected}, expected {expected}")
        }
        YamlError::InvalidScalar { ty: "boolean", .. } => "expected true or false".to_owned(),
        YamlError::InvalidScalar { .. } => "expected a whole number".to_owned(),
        YamlError::Unexpected { expected: "mapping start", .. } => {
            "expected a mapping, such as {key: value}".to_owned()
        }
        YamlError::Unexpected { expected: "sequence start", .. } => {
            "expected a list: [one, another], or lines that begin with a dash".to_owned()
        }
        YamlError::Unexpected { expected: "string scalar", .. } | YamlError::NullIntoString { .. } => {
            value_missing(path)
        }
        YamlError::UnexpectedValueForUnitEnumVariant { .. } => {
            format!("{} takes no value: it stands alone", last(path))
        }
        YamlError::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "expected one key, and there is another".to_owned()
        }
        YamlError::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            "expected a word, or a mapping such as {errno: EPERM}".to_owned()
        }
        YamlError::Eof { .. } => "the policy is empty; it begins with `version: 1`".to_owned(),
        YamlError::Message { msg, .. } => msg.clone(),
        YamlError::MultipleDocuments { .. } => "a policy is one document".to_owned(),
        other => match first_line(other) {
            tabs if tabs.starts_with("tabs disallowed") => {
                "lines are indented by spaces, not by tabs".to_owned()
            }
            line => line,
        },
    }
}

/// What to say of nothing, of a list and of a mapping, where a text should be.
fn value_missing(path: &str) -> String {
    let example = ANSWERS.iter().find(|(name, _)| path.ends_with(&format!(".answer.{name}")));
    match example {
        Some((name, example)) => format!("{name} takes a value, as in {example}"),
        None => "expected a text; what is empty, null, or begins with [ or { stands in quotes".to_owned(),
    }
}

/// Answers that take a value, and how they are written.
const ANSWERS: [(&str, &str); 4] = [
    ("delay", "{delay: 50ms}"),
    ("errno", "{errno: EPERM}"),
    ("return", "{return: 0}"),
    ("freeze", "{freeze: EPERM}"),
];

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

fn suggestion(word: &str, expected: &[&'static str]) -> String {
    let hint = hint(word, expected.iter().copied());
    if !hint.is_empty() {
        return hint;
    }
    let written = |word: &&'static str| {
        let answer =
            expected.contains(&"errno").then(|| ANSWERS.iter().find(|(name, _)| name == word)).flatten();
        answer.map_or(*word, |(_, example)| example)
    };
    let verb = if expected.len() == 1 { "is" } else { "are" };
    format!("; there {verb} {}", expected.iter().map(written).collect::<Vec<_>>().join(", "))
}

/// The parser's own words, without the place: that stands before them.
fn first_line(error: &YamlError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or_default().to_owned()
}
