use std::fmt;
use std::str::FromStr;

/// The name of a recording in a [`Store`](crate::Store), such as `shop-frontend` or `sha256-0a1b`: letters, digits, `.`,
/// `_` and `-`, not beginning with `.`, so that it is a file's name and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no name of a recording: 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`, not beginning with `.`"
)]
pub struct InvalidName {
    /// The text, or its beginning.
    pub text: String,
}

/// So many bytes leave room for an ending where names of files have at most 255 bytes.
const MAX_NAME: usize = 200;

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_NAME).contains(&text.len());
        if fits && text.bytes().all(is_plain) && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { text: text.chars().take(MAX_NAME).collect() })
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_files_name_and_nothing_more() {
        for text in ["a", "shop-frontend", "sha256-0a1b", "v1.2_x", &"a".repeat(200)] {
            assert_eq!(text.parse::<Name>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", ".", "..", ".a", "a/b", "../a", "a\0", "a b", "ä", "a\n", &"a".repeat(201)] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }
}
