use std::cell::RefCell;
use std::ffi::CStr;
use std::fmt::{self, Write};

/// What is said of one call while it is decided about, for whoever keeps an account of decisions.
///
/// A [`Layer`](crate::Layer) that wants an account hands a handler a call that [takes
/// notes](crate::Call::noted_in), and reads them when the verdict is there. A handler writes them with
/// [`Call::note`](crate::Call::note), which does nothing where nobody wants them.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Noted>);

/// The notes of one call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Noted {
    /// The path that the call names, as the handler has read it.
    pub path: Excerpt,
    /// What else is asked for: `KEY=VALUE`, parted by spaces.
    pub asked: Excerpt,
    /// What the decision rests on.
    pub why: Option<&'static str>,
    /// What went wrong on the agent's side.
    pub error: Option<String>,
    /// That the call is to be told of whatever becomes of it.
    pub notice: Notice,
}

/// Whether a call is to be told of although it continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Not for its own sake.
    #[default]
    None,
    /// Somebody wants a record of it.
    Record,
    /// Somebody should look at it.
    Alert,
}

/// The beginning and the end of a text of somebody else's: as much as fits a record, without allocation.
///
/// It is shown with an ellipsis in the place of what is left out, and with control characters, other invisible
/// ones and what is no UTF-8 escaped.
#[derive(Clone)]
pub struct Excerpt {
    head: [u8; HALF],
    /// A ring, once there is more.
    tail: [u8; HALF],
    len: usize,
}

/// How many bytes are kept of the beginning, and of the end.
const HALF: usize = 128;

impl Notes {
    /// No notes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was noted.
    pub fn into_inner(self) -> Noted {
        self.0.into_inner()
    }

    pub(crate) fn take_down(&self, note: impl FnOnce(&mut Noted)) {
        // Not within another note.
        if let Ok(mut noted) = self.0.try_borrow_mut() {
            note(&mut noted);
        }
    }
}

impl Noted {
    /// Notes the path.
    pub fn path(&mut self, path: &CStr) -> &mut Self {
        self.path = Excerpt::of(path.to_bytes());
        self
    }

    /// Adds to what is asked for.
    pub fn asks(&mut self, what: fmt::Arguments<'_>) -> &mut Self {
        let parted = if self.asked.is_empty() { Ok(()) } else { self.asked.write_char(' ') };
        // An excerpt takes everything.
        let _ = parted.and_then(|()| self.asked.write_fmt(what));
        self
    }

    /// Notes what the decision rests on.
    pub const fn because(&mut self, why: &'static str) -> &mut Self {
        self.why = Some(why);
        self
    }
}

impl Excerpt {
    /// An excerpt of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut excerpt = Self::default();
        excerpt.push(bytes);
        excerpt
    }

    /// Whether there is no text.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.head.get_mut(self.len) {
                Some(place) => *place = *byte,
                None => self.tail[self.len % HALF] = *byte,
            }
            self.len += 1;
        }
    }
}

impl Default for Excerpt {
    fn default() -> Self {
        Self { head: [0; HALF], tail: [0; HALF], len: 0 }
    }
}

impl Write for Excerpt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = [0; 2 * HALF];
        whole[..HALF].copy_from_slice(&self.head);
        if self.len <= 2 * HALF {
            whole[HALF..].copy_from_slice(&self.tail);
            return escaped(&whole[..self.len], f);
        }
        let mut tail = self.tail;
        tail.rotate_left(self.len % HALF);
        escaped(&self.head, f)?;
        f.write_char('…')?;
        escaped(&tail, f)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => f.write_char(character)?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        write!(f, "{}", chunk.invalid().escape_ascii())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_without_what_a_terminal_would_obey() {
        for (bytes, expected) in [
            (&b"/a/b c"[..], "/a/b c"),
            (b"", ""),
            ("/é\"'".as_bytes(), "/é\"'"),
            (b"\x1b[2J\n\\", "\\u{1b}[2J\\n\\\\"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            (b"\xff/x", "\\xff/x"),
        ] {
            assert_eq!(Excerpt::of(bytes).to_string(), expected);
        }
    }

    #[test]
    fn of_a_long_text_both_ends_are_kept() {
        for len in [2 * HALF, 2 * HALF + 1, 3 * HALF - 1, 3 * HALF, 4095] {
            let text: String = ('a'..='z').cycle().take(len).collect();
            let shown = Excerpt::of(text.as_bytes()).to_string();
            if len <= 2 * HALF {
                assert_eq!(shown, text);
            } else {
                assert_eq!(shown, format!("{}…{}", &text[..HALF], &text[len - HALF..]), "{len}");
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_parted_by_spaces() {
        let notes = Notes::new();
        notes.take_down(|noted| {
            noted.asks(format_args!("mode={:04o}", 0o755)).asks(format_args!("fd={}", 3)).because("listed");
        });
        let said = notes.into_inner();
        assert_eq!((said.asked.to_string(), said.why), ("mode=0755 fd=3".to_owned(), Some("listed")));
    }
}
