//! What mounts there are: `mountinfo` (`proc_pid_mountinfo(5)`).

use std::ffi::CString;

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) parent: u64,
    /// What of its file system it shows.
    pub(super) root: Vec<u8>,
    /// Where it is, from the namespace's root.
    pub(super) at: Vec<u8>,
    pub(super) read_only: bool,
    /// Whether others see what is mounted on it.
    pub(super) is_shared: bool,
    /// The type of its file system.
    pub(super) kind: Vec<u8>,
}

impl Line {
    /// Where it is, as a path.
    pub(super) fn path(&self) -> Option<CString> {
        CString::new(self.at.clone()).ok()
    }
}

/// All lines. One that makes no sense is as if it were not there.
pub(super) fn parse(table: &[u8]) -> Vec<Line> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(text: &[u8]) -> Option<Line> {
    let mut fields = text.split(|byte| *byte == b' ');
    let number = number(fields.next()?)?;
    let parent = self::number(fields.next()?)?;
    let _device = fields.next()?;
    let root = unescaped(fields.next()?);
    let at = unescaped(fields.next()?);
    let read_only = fields.next()?.split(|byte| *byte == b',').any(|flag| flag == b"ro");
    let mut is_shared = false;
    for field in fields.by_ref().take_while(|field| *field != b"-") {
        is_shared |= field.starts_with(b"shared:");
    }
    let kind = fields.next()?.to_vec();
    Some(Line { number, parent, root, at, read_only, is_shared, kind })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Blanks and backslashes are written as `\ooo`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        (rest, plain) = if let Some(byte) = code {
            plain.push(byte);
            (&after[3..], plain)
        } else {
            plain.push(first);
            (after, plain)
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let table = b"36 35 98:0 /m\\0401 /a\\134b rw,noatime shared:7 master:1 - ext3 /dev/root rw,x\n\
                      37 36 0:5 / /proc ro,nosuid - proc proc rw\n\
                      nonsense\n38 36 0:5 / /x rw master:7 propagate_from:2 - fuse.y y rw\n";
        let lines = parse(table);
        assert_eq!(lines.len(), 3);
        let first = &lines[0];
        assert_eq!((first.number, first.parent), (36, 35));
        assert_eq!((&first.root[..], &first.at[..]), (&b"/m 1"[..], &b"/a\\b"[..]));
        assert_eq!((first.read_only, first.is_shared, &first.kind[..]), (false, true, &b"ext3"[..]));
        assert_eq!((lines[1].read_only, lines[1].is_shared, &lines[1].kind[..]), (true, false, &b"proc"[..]));
        assert_eq!((lines[2].is_shared, &lines[2].kind[..]), (false, &b"fuse.y"[..]));
    }
}
